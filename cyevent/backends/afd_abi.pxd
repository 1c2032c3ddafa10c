# Windows: the requests of AFD, the driver below Winsock, and completion ports. What they are is told in
# afd.pyx.

from libc.stdint cimport uintptr_t
from cyevent.core.sys cimport evutil_socket_t

cdef extern from *:
    """
    #ifndef CYEVENT_AFD_ABI_H
    #define CYEVENT_AFD_ABI_H
    #include <winternl.h>
    #ifndef SIO_BASE_HANDLE
      #define SIO_BASE_HANDLE 0x48000022
    #endif
    #ifndef SIO_BSP_HANDLE_POLL
      #define SIO_BSP_HANDLE_POLL 0x4800001D
    #endif
    #define EV_IOCTL_AFD_POLL 0x00012024
    #define AFD_POLL_RECEIVE 0x001
    #define AFD_POLL_SEND 0x004
    #define AFD_POLL_DISCONNECT 0x008
    #define AFD_POLL_ABORT 0x010
    #define AFD_POLL_LOCAL_CLOSE 0x020
    #define AFD_POLL_ACCEPT 0x080
    #define AFD_POLL_CONNECT_FAIL 0x100
    #define EV_STATUS_PENDING 0x103

    /* What the driver is asked and answers. */
    struct ev_afd_poll_info {
        LARGE_INTEGER timeout;
        ULONG count;
        ULONG exclusive;
        HANDLE handle;
        ULONG events;
        LONG status;
    };
    struct ev_afd_request {
        IO_STATUS_BLOCK done;
        struct ev_afd_poll_info info;
    };

    /* What completes through it comes with the key. */
    static inline HANDLE ev_afd_open(HANDLE port, uintptr_t key) {
        static const wchar_t name[] = L"\\\\Device\\\\Afd\\\\Cyevent";
        UNICODE_STRING text;
        OBJECT_ATTRIBUTES attributes;
        IO_STATUS_BLOCK done;
        HANDLE afd;
        memset(&attributes, 0, sizeof(attributes));
        text.Buffer = (wchar_t *)name;
        text.Length = sizeof(name) - sizeof(name[0]);
        text.MaximumLength = sizeof(name);
        attributes.Length = sizeof(attributes);
        attributes.ObjectName = &text;
        if (NtCreateFile(&afd, SYNCHRONIZE, &attributes, &done, NULL, 0, FILE_SHARE_READ | FILE_SHARE_WRITE,
                         1 /* FILE_OPEN */, 0, NULL, 0) != 0)
            return NULL;
        if (CreateIoCompletionPort(afd, port, key, 0) == NULL) {
            CloseHandle(afd);
            return NULL;
        }
        /* The handle is no event that anybody waits for. */
        SetFileCompletionNotificationModes(afd, 2 /* FILE_SKIP_SET_EVENT_ON_HANDLE */);
        return afd;
    }
    /* The completion is found by the request's address. 0 when one will come. */
    static inline int ev_afd_ask(HANDLE afd, struct ev_afd_request *request, evutil_socket_t base,
                                 unsigned events) {
        LONG status;
        request->done.Status = EV_STATUS_PENDING;
        request->info.timeout.QuadPart = INT64_MAX;
        request->info.count = 1;
        request->info.exclusive = 0;
        request->info.handle = (HANDLE)base;
        request->info.events = events;
        request->info.status = 0;
        status = NtDeviceIoControlFile(afd, NULL, NULL, request, &request->done, EV_IOCTL_AFD_POLL,
                                       &request->info, sizeof(request->info), &request->info,
                                       sizeof(request->info));
        return status == 0 || status == EV_STATUS_PENDING ? 0 : -1;
    }
    static inline void ev_afd_cancel(HANDLE afd, struct ev_afd_request *request) {
        CancelIoEx(afd, (OVERLAPPED *)&request->done);
    }
    /* What is true of the socket; 0 when the request was cancelled. */
    static inline unsigned ev_afd_answer(const struct ev_afd_request *request) {
        return request->done.Status == 0 && request->info.count > 0 ? request->info.events : 0;
    }
    /* The driver's own handle for a socket; -1 with errno if it is none. */
    static inline evutil_socket_t ev_afd_base(evutil_socket_t fd) {
        SOCKET base = INVALID_SOCKET;
        DWORD n;
        /* Wine gives a base for anything. */
        if (!ev_is_open(fd))
            return -1;
        if (WSAIoctl((SOCKET)fd, SIO_BASE_HANDLE, NULL, 0, &base, sizeof(base), &n, NULL, NULL) == 0)
            return (evutil_socket_t)base;
        if (WSAIoctl((SOCKET)fd, SIO_BSP_HANDLE_POLL, NULL, 0, &base, sizeof(base), &n, NULL, NULL) == 0)
            return (evutil_socket_t)base;
        return fd;
    }
    static inline HANDLE ev_port_new(void) { return CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1); }
    static inline int ev_port_post(HANDLE port) {
        return PostQueuedCompletionStatus(port, 0, 1, NULL) ? 0 : -1;
    }
    static inline int ev_port_wait(HANDLE port, OVERLAPPED_ENTRY *entries, int room, unsigned ms) {
        ULONG n = 0;
        if (GetQueuedCompletionStatusEx(port, entries, (ULONG)room, &n, ms, FALSE))
            return (int)n;
        return GetLastError() == WAIT_TIMEOUT ? 0 : -1;
    }
    #endif
    """
    ctypedef void *HANDLE
    ctypedef struct OVERLAPPED_ENTRY:
        uintptr_t lpCompletionKey
        void *lpOverlapped
    ctypedef struct ev_afd_request "struct ev_afd_request":
        pass
    unsigned AFD_POLL_RECEIVE, AFD_POLL_SEND, AFD_POLL_DISCONNECT, AFD_POLL_ABORT, AFD_POLL_LOCAL_CLOSE
    unsigned AFD_POLL_ACCEPT, AFD_POLL_CONNECT_FAIL
    unsigned INFINITE
    HANDLE ev_afd_open(HANDLE port, uintptr_t key) noexcept nogil
    int ev_afd_ask(HANDLE afd, ev_afd_request *request, evutil_socket_t base, unsigned events) noexcept nogil
    void ev_afd_cancel(HANDLE afd, ev_afd_request *request) noexcept nogil
    unsigned ev_afd_answer(const ev_afd_request *request) noexcept nogil
    evutil_socket_t ev_afd_base(evutil_socket_t fd) noexcept nogil
    HANDLE ev_port_new() noexcept nogil
    int ev_port_post(HANDLE port) noexcept nogil
    int ev_port_wait(HANDLE port, OVERLAPPED_ENTRY *entries, int room, unsigned ms) noexcept nogil
    bint CloseHandle(HANDLE handle) noexcept nogil
