# Windows' overlapped operations on sockets as functions, and the errors that they end with. What they are is
# told in iocp.pyx.

from libc.stdint cimport int64_t
from cyevent.backends.afd_abi cimport HANDLE, ev_afd_request
from cyevent.core.sys cimport evutil_socket_t, iovec, sockaddr

cdef extern from *:
    """
    #ifndef CYEVENT_IOCP_ABI_H
    #define CYEVENT_IOCP_ABI_H
    union ev_request_memory {
        OVERLAPPED overlapped;
        struct ev_afd_request poll;      /* begins with what the system writes in an OVERLAPPED */
    };
    static LPFN_ACCEPTEX ev_AcceptEx;
    static LPFN_CONNECTEX ev_ConnectEx;
    static LPFN_TRANSMITFILE ev_TransmitFile;

    static inline int ev_find(SOCKET sock, GUID guid, void *function) {
        DWORD n;
        return WSAIoctl(sock, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof(guid), function,
                        sizeof(void *), &n, NULL, NULL) == 0;
    }
    /* The functions that Winsock does not export. Asking twice at the same time does no harm. */
    static inline int ev_find_functions(void) {
        static const GUID accept = WSAID_ACCEPTEX, connect = WSAID_CONNECTEX, transmit = WSAID_TRANSMITFILE;
        SOCKET sock;
        int found;
        if (ev_TransmitFile != NULL)
            return 1;
        sock = socket(AF_INET, SOCK_STREAM, 0);
        if (sock == INVALID_SOCKET)
            return 0;
        found = ev_find(sock, accept, &ev_AcceptEx) && ev_find(sock, connect, &ev_ConnectEx)
            && ev_find(sock, transmit, &ev_TransmitFile);
        closesocket(sock);
        return found;
    }
    static inline int ev_tie(evutil_socket_t fd, HANDLE port, void *key) {
        return CreateIoCompletionPort((HANDLE)fd, port, (ULONG_PTR)key, 0) != NULL;
    }

    #define EV_STATUS_HANDLES_CLOSED ((LONG)0x8000000A)
    #define EV_STATUS_LOCAL_DISCONNECT ((LONG)0xC000013B)
    /* By Winsock's numbers and the core's. */
    static inline int ev_errno_of_operation(LONG status) {
        DWORD error = RtlNtStatusToDosError(status);
        /* The socket was closed, by us. */
        if (status == EV_STATUS_HANDLES_CLOSED || status == EV_STATUS_LOCAL_DISCONNECT)
            return WSAECONNABORTED;
        switch (error) {
        case ERROR_OPERATION_ABORTED: return ECANCELED;
        case ERROR_NETNAME_DELETED: case ERROR_PORT_UNREACHABLE: return WSAECONNRESET;
        case ERROR_CONNECTION_ABORTED: case ERROR_GRACEFUL_DISCONNECT: return WSAECONNABORTED;
        case ERROR_CONNECTION_REFUSED: return WSAECONNREFUSED;
        case ERROR_SEM_TIMEOUT: return WSAETIMEDOUT;
        case ERROR_HOST_UNREACHABLE: case ERROR_HOST_DOWN: case ERROR_BAD_NETPATH: return WSAEHOSTUNREACH;
        case ERROR_NETWORK_UNREACHABLE: case ERROR_PROTOCOL_UNREACHABLE: return WSAENETUNREACH;
        case ERROR_ADDRESS_ALREADY_ASSOCIATED: return WSAEADDRINUSE;
        case ERROR_CONNECTION_ACTIVE: return WSAEISCONN;
        case ERROR_CONNECTION_INVALID: case ERROR_PIPE_NOT_CONNECTED: return WSAENOTCONN;
        case ERROR_MORE_DATA: case ERROR_INSUFFICIENT_BUFFER: return WSAEMSGSIZE;
        case ERROR_NOT_ENOUGH_MEMORY: case ERROR_OUTOFMEMORY: return ENOMEM;
        case ERROR_NO_SYSTEM_RESOURCES: case ERROR_WORKING_SET_QUOTA: case ERROR_NOT_ENOUGH_QUOTA:
            return WSAENOBUFS;
        case ERROR_TOO_MANY_OPEN_FILES: return EMFILE;
        case ERROR_ACCESS_DENIED: return EACCES;
        case ERROR_INVALID_HANDLE: return EBADF;
        case ERROR_INVALID_PARAMETER: return EINVAL;
        case ERROR_NOT_SUPPORTED: case ERROR_INVALID_FUNCTION: return WSAEOPNOTSUPP;
        default: return error >= WSABASEERR ? ev_errno_of((int)error) : EIO;
        }
    }
    /* How many bytes, or -errno. */
    static inline int64_t ev_outcome(const union ev_request_memory *request) {
        LONG status = (LONG)request->overlapped.Internal;
        return status >= 0 ? (int64_t)request->overlapped.InternalHigh : -ev_errno_of_operation(status);
    }

    /* 0 when it will complete, or an errno. */
    static inline int ev_began(int done) {
        int error = done ? 0 : WSAGetLastError();
        return error == WSA_IO_PENDING ? 0 : ev_errno_of(error);
    }
    static inline void *ev_clear(union ev_request_memory *request) {
        return memset(request, 0, sizeof(*request));
    }

    static inline int ev_begin_receive(evutil_socket_t fd, void *data, size_t n,
                                       union ev_request_memory *request) {
        static char nothing[1];
        DWORD flags = 0;
        WSABUF buffer;
        buffer.len = (ULONG)n;
        buffer.buf = n ? (char *)data : nothing;
        ev_clear(request);
        return ev_began(WSARecv((SOCKET)fd, &buffer, 1, NULL, &flags, &request->overlapped, NULL) == 0);
    }
    static inline int ev_begin_send(evutil_socket_t fd, struct iovec *pieces, int n,
                                    union ev_request_memory *request) {
        ev_clear(request);
        return ev_began(WSASend((SOCKET)fd, (WSABUF *)pieces, (DWORD)n, NULL, 0, &request->overlapped,
                                NULL) == 0);
    }
    static inline int ev_begin_transmit(evutil_socket_t fd, int file, int64_t offset, size_t n,
                                 union ev_request_memory *request) {
        HANDLE handle = ev_handle_of(file);
        ev_clear(request);
        if (handle == INVALID_HANDLE_VALUE)
            return EBADF;
        request->overlapped.Offset = (DWORD)offset;
        request->overlapped.OffsetHigh = (DWORD)((uint64_t)offset >> 32);
        return ev_began(ev_TransmitFile((SOCKET)fd, handle, (DWORD)n, 0, &request->overlapped, NULL, 0));
    }

    /* Where the system puts both addresses. */
    #define EV_ADDRESS_ROOM (sizeof(struct sockaddr_storage) + 16)
    struct ev_accept_memory { char addresses[2 * EV_ADDRESS_ROOM]; };
    static inline int ev_begin_accept(evutil_socket_t fd, evutil_socket_t into, struct ev_accept_memory *memory,
                               union ev_request_memory *request) {
        DWORD n = 0;
        ev_clear(request);
        return ev_began(ev_AcceptEx((SOCKET)fd, (SOCKET)into, memory->addresses, 0, EV_ADDRESS_ROOM,
                                    EV_ADDRESS_ROOM, &n, &request->overlapped));
    }
    static inline int ev_finish_accept(evutil_socket_t fd, evutil_socket_t sock) {
        SOCKET listener = (SOCKET)fd;
        return setsockopt((SOCKET)sock, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&listener,
                          sizeof(listener));
    }
    /* Of a listening socket, for those that accept its connections. Not every system's AcceptEx refuses
       others. */
    static inline int ev_kind_of(evutil_socket_t fd, int *family, int *kind, int *protocol) {
        WSAPROTOCOL_INFOW info;
        DWORD listening = 0;
        int n = sizeof(listening);
        if (getsockopt((SOCKET)fd, SOL_SOCKET, SO_ACCEPTCONN, (char *)&listening, &n) < 0)
            return ev_failed(-1);
        if (!listening) {
            errno = EINVAL;
            return -1;
        }
        n = sizeof(info);
        if (getsockopt((SOCKET)fd, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &n) < 0)
            return ev_failed(-1);
        *family = info.iAddressFamily;
        *kind = info.iSocketType;
        *protocol = info.iProtocol;
        return 0;
    }

    static inline int ev_begin_connect(evutil_socket_t fd, const struct sockaddr *address, int n,
                                union ev_request_memory *request) {
        struct sockaddr_storage any;
        memset(&any, 0, sizeof(any));
        any.ss_family = address->sa_family;
        if (address->sa_family != AF_INET && address->sa_family != AF_INET6)
            return WSAEOPNOTSUPP;
        /* It fails for one that is bound already. */
        bind((SOCKET)fd, (struct sockaddr *)&any,
             address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
        ev_clear(request);
        return ev_began(ev_ConnectEx((SOCKET)fd, address, n, NULL, 0, NULL, &request->overlapped));
    }
    static inline int ev_finish_connect(evutil_socket_t fd) {
        return ev_failed(setsockopt((SOCKET)fd, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0));
    }

    static inline int ev_ask(HANDLE afd, union ev_request_memory *request, evutil_socket_t base,
                             unsigned events) {
        return ev_afd_ask(afd, &request->poll, base, events) < 0 ? EBADF : 0;
    }
    static inline unsigned ev_answer(const union ev_request_memory *request) {
        return ev_afd_answer(&request->poll);
    }
    static inline int ev_cancel_request(HANDLE handle, union ev_request_memory *request) {
        return CancelIoEx(handle, &request->overlapped);
    }
    /* As if it had been begun, and had completed. */
    static inline int ev_post_request(HANDLE port, void *key, union ev_request_memory *request) {
        if (PostQueuedCompletionStatus(port, 0, (ULONG_PTR)key, &request->overlapped))
            return 0;
        errno = ENOMEM;
        return -1;
    }
    #endif
    """
    int ECANCELED, EIO
    # Those that begin return 0 when the operation will complete, or an errno. The memory is the system's until
    # then.
    ctypedef struct ev_request_memory "union ev_request_memory":
        pass
    ctypedef struct ev_accept_memory "struct ev_accept_memory":
        pass
    bint ev_find_functions() noexcept nogil
    bint ev_tie(evutil_socket_t fd, HANDLE port, void *key) noexcept nogil
    int64_t ev_outcome(const ev_request_memory *request) noexcept nogil
    int ev_begin_receive(evutil_socket_t fd, void *data, size_t n, ev_request_memory *request) noexcept nogil
    int ev_begin_send(evutil_socket_t fd, iovec *pieces, int n, ev_request_memory *request) noexcept nogil
    int ev_begin_transmit(evutil_socket_t fd, int file, int64_t offset, size_t n,
                          ev_request_memory *request) noexcept nogil
    int ev_begin_accept(evutil_socket_t fd, evutil_socket_t into, ev_accept_memory *memory,
                        ev_request_memory *request) noexcept nogil
    int ev_finish_accept(evutil_socket_t fd, evutil_socket_t sock) noexcept nogil
    int ev_kind_of(evutil_socket_t fd, int *family, int *kind, int *protocol) noexcept nogil
    int ev_begin_connect(evutil_socket_t fd, const sockaddr *address, int n,
                         ev_request_memory *request) noexcept nogil
    int ev_finish_connect(evutil_socket_t fd) noexcept nogil
    int ev_ask(HANDLE afd, ev_request_memory *request, evutil_socket_t base, unsigned events) noexcept nogil
    unsigned ev_answer(const ev_request_memory *request) noexcept nogil
    bint ev_cancel_request(HANDLE handle, ev_request_memory *request) noexcept nogil
    int ev_post_request(HANDLE port, void *key, ev_request_memory *request) noexcept nogil
