/* The few functions of OpenSSL that the programs here use, declared by hand and looked up at run time: the library
 * is wherever libevent's is, its headers are often not. Versions 1.1 and later.
 */
#ifndef CYEVENT_PERF_OPENSSL_H
#define CYEVENT_PERF_OPENSSL_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;

#define OPENSSL_FUNCTIONS(each)                                         \
    each(const void *, TLS_client_method, (void))                       \
    each(const void *, TLS_server_method, (void))                       \
    each(SSL_CTX *, SSL_CTX_new, (const void *))                        \
    each(int, SSL_CTX_use_certificate_file, (SSL_CTX *, const char *, int)) \
    each(int, SSL_CTX_use_PrivateKey_file, (SSL_CTX *, const char *, int))  \
    each(SSL *, SSL_new, (SSL_CTX *))                                   \
    each(void, SSL_free, (SSL *))                                       \
    each(int, SSL_set_fd, (SSL *, int))                                 \
    each(void, SSL_set_accept_state, (SSL *))                           \
    each(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *))            \
    each(int, SSL_connect, (SSL *))                                     \
    each(int, SSL_read, (SSL *, void *, int))                           \
    each(int, SSL_write, (SSL *, const void *, int))                    \
    each(int, SSL_pending, (const SSL *))                               \
    each(int, SSL_has_pending, (const SSL *))                           \
    each(int, SSL_get_error, (const SSL *, int))                        \
    each(void, ERR_clear_error, (void))

#define OPENSSL_POINTER(result, name, arguments) static result (*name##_) arguments;
OPENSSL_FUNCTIONS(OPENSSL_POINTER)

#define OPENSSL_PEM 1
#define OPENSSL_WANT_READ 2
#define OPENSSL_WANT_WRITE 3
#define OPENSSL_SET_READ_AHEAD 41

static void openssl_load(void) {
    static const char *const names[] = {"libssl.so.4", "libssl.so.3", "libssl.so.1.1", "libssl.so"};
    void *library = NULL;
    unsigned i;
    for (i = 0; i < sizeof(names) / sizeof(*names) && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        fputs("there is no libssl\n", stderr);
        exit(1);
    }
#define OPENSSL_FIND(result, name, arguments)                    \
    if (!(*(void **)&name##_ = dlsym(library, #name))) {         \
        fputs("libssl has no " #name "\n", stderr);              \
        exit(1);                                                 \
    }
    OPENSSL_FUNCTIONS(OPENSSL_FIND)
}

#endif
