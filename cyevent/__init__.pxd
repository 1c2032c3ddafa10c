# libevent's names for code that cimports: `from cyevent cimport event_new, event_add, ...`.
# Names that end in an underscore are the library's own and stay in their rooms.

from cyevent.core.sys cimport ev_socklen_t, evutil_socket_t, timeval, va_list
from cyevent.core.types cimport (
    event, event_base, event_config, event_callback_fn, event_finalize_callback_fn,
    event_base_foreach_event_cb, event_callback, evwatch, evwatch_prepare_cb, evwatch_check_cb,
    evwatch_prepare_cb_info, evwatch_check_cb_info, EV_TIMEOUT, EV_READ, EV_WRITE, EV_SIGNAL,
    EV_PERSIST, EV_ET, EV_FINALIZE, EV_CLOSED, EVLOOP_ONCE, EVLOOP_NONBLOCK,
    EVLOOP_NO_EXIT_ON_EMPTY, event_method_feature, EV_FEATURE_ET, EV_FEATURE_O1, EV_FEATURE_FDS,
    EV_FEATURE_EARLY_CLOSE, event_base_config_flag, EVENT_BASE_FLAG_NOLOCK,
    EVENT_BASE_FLAG_IGNORE_ENV, EVENT_BASE_FLAG_STARTUP_IOCP, EVENT_BASE_FLAG_NO_CACHE_TIME,
    EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST, EVENT_BASE_FLAG_PRECISE_TIMER,
    EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD, EVENT_BASE_FLAG_USE_SIGNALFD, EVENT_BASE_FLAG_COMPLETION,
    EVENT_BASE_COUNT_ACTIVE,
    EVENT_BASE_COUNT_VIRTUAL, EVENT_BASE_COUNT_ADDED, EVENT_MAX_PRIORITIES,
)
from cyevent.core.memory cimport (
    event_set_mem_functions,
)
from cyevent.core.log cimport (
    event_log_cb, event_fatal_cb, event_set_log_callback, event_set_fatal_callback,
    EVENT_LOG_DEBUG, EVENT_LOG_MSG, EVENT_LOG_WARN, EVENT_LOG_ERR,
    EVENT_DBG_NONE, EVENT_DBG_ALL, event_enable_debug_logging,
)
from cyevent.core.threads cimport (
    EVTHREAD_LOCK_API_VERSION, EVTHREAD_CONDITION_API_VERSION, EVTHREAD_LOCKTYPE_RECURSIVE,
    EVTHREAD_LOCKTYPE_READWRITE, EVTHREAD_WRITE, EVTHREAD_READ, EVTHREAD_TRY,
    EVTHREAD_PTHREAD_PRIO_INHERIT, evthread_lock_callbacks, evthread_condition_callbacks,
    evthread_set_lock_callbacks, evthread_set_condition_callbacks, evthread_set_id_callback,
    evthread_use_pthreads,
    EVTHREAD_USE_PTHREADS_IMPLEMENTED, evthread_enable_lock_debugging,
    evthread_enable_lock_debuging, evthread_use_pthreads_with_flags,
)
from cyevent.core.event cimport (
    event_new, event_assign, event_free, event_self_cbarg, event_base_set,
    event_add, event_remove_timer, event_del, event_del_block, event_del_noblock, event_active,
    event_pending, event_initialized, event_priority_set, event_get_priority, event_get_fd,
    event_get_base, event_get_events, event_get_callback, event_get_callback_arg,
    event_get_assignment, event_get_struct_event_size,
    event_base_init_common_timeout, event_base_active_by_fd, event_base_active_by_signal,
)
from cyevent.core.shortnames cimport (
    evtimer_new, evtimer_assign, evtimer_add, evtimer_del, evtimer_pending, evtimer_initialized,
    evsignal_new, evsignal_assign, evsignal_add, evsignal_del, evsignal_pending,
    evsignal_initialized,
)
from cyevent.core.finalize cimport event_finalize, event_free_finalize
from cyevent.core.debug cimport event_debug_unassign, event_enable_debug_mode
from cyevent.core.shutdown cimport libevent_global_shutdown
from cyevent.core.winthreads cimport (
    EVTHREAD_USE_WINDOWS_THREADS_IMPLEMENTED, evthread_use_windows_threads,
)
from cyevent.core.loop cimport (
    event_base_loop, event_base_dispatch, event_base_loopexit, event_base_loopbreak,
    event_base_loopcontinue, event_base_got_exit, event_base_got_break,
    event_base_get_running_event,
)
from cyevent.core.base cimport (
    event_base_new, event_base_new_with_config, event_base_free, event_base_free_nofinalize,
    event_reinit, event_base_priority_init, event_base_get_npriorities, event_base_get_method,
    event_base_get_signal_method, event_base_get_features, event_get_supported_methods,
    event_base_get_num_events, event_base_get_max_events,
    event_base_gettimeofday_cached, event_base_update_cache_time,
    event_gettime_monotonic, evthread_make_base_notifiable, event_get_version,
    event_get_version_number,
)
from cyevent.core.watch cimport (
    evwatch_base, evwatch_check_new, evwatch_free, evwatch_prepare_get_timeout,
    evwatch_prepare_new,
)
from cyevent.core.config cimport (
    event_config_avoid_method, event_config_free, event_config_new, event_config_require_features,
    event_config_set_flag, event_config_set_max_dispatch_interval, event_config_set_num_cpus_hint,
)
from cyevent.core.inspect cimport event_base_dump_events, event_base_foreach_event
from cyevent.core.once cimport event_base_once
from cyevent.core.sys cimport iovec, sockaddr
from cyevent.buffer.types cimport (
    evbuffer, evbuffer_chain, evbuffer_iovec, evbuffer_ptr, evbuffer_cb_info, evbuffer_cb_entry,
    evbuffer_cb_func, evbuffer_ref_cleanup_cb, evbuffer_eol_style, evbuffer_ptr_how, ev_ssize_t,
    ev_off_t, EVBUFFER_EOL_ANY, EVBUFFER_EOL_CRLF, EVBUFFER_EOL_CRLF_STRICT, EVBUFFER_EOL_LF,
    EVBUFFER_EOL_NUL, EVBUFFER_PTR_SET, EVBUFFER_PTR_ADD, EVBUFFER_FLAG_DRAINS_TO_FD,
    EVBUFFER_CB_ENABLED, EVBUFFER_CB_NODEFER, EVBUFFER_IOVEC_IS_NATIVE_, evbuffer_file_segment,
    evbuffer_file_segment_cleanup_cb, EVBUF_FS_CLOSE_ON_FREE, EVBUF_FS_DISABLE_MMAP,
    EVBUF_FS_DISABLE_SENDFILE, EVBUF_FS_DISABLE_LOCKING,
)
from cyevent.buffer.evbuffer cimport (
    evbuffer_new, evbuffer_free, evbuffer_enable_locking, evbuffer_lock, evbuffer_unlock,
    evbuffer_set_flags, evbuffer_clear_flags, evbuffer_set_max_read, evbuffer_get_max_read,
    evbuffer_get_length, evbuffer_get_contiguous_space, evbuffer_freeze, evbuffer_unfreeze,
    evbuffer_add, evbuffer_add_iovec, evbuffer_add_reference, evbuffer_add_reference_with_offset,
    evbuffer_prepend, evbuffer_drain, evbuffer_remove, evbuffer_copyout, evbuffer_copyout_from,
)
from cyevent.buffer.callbacks cimport (
    evbuffer_add_cb, evbuffer_remove_cb_entry, evbuffer_remove_cb, evbuffer_cb_set_flags,
    evbuffer_cb_clear_flags, evbuffer_cb_suspend, evbuffer_cb_unsuspend, evbuffer_defer_callbacks,
)
from cyevent.buffer.file cimport (
    evbuffer_file_segment_new, evbuffer_file_segment_free, evbuffer_file_segment_add_cleanup_cb,
    evbuffer_add_file_segment, evbuffer_add_file,
)
from cyevent.buffer.printf cimport evbuffer_add_printf, evbuffer_add_vprintf
from cyevent.buffer.reserve cimport (
    evbuffer_expand, evbuffer_reserve_space, evbuffer_commit_space, evbuffer_peek, evbuffer_pullup,
)
from cyevent.buffer.transfer cimport (
    evbuffer_add_buffer, evbuffer_prepend_buffer, evbuffer_remove_buffer,
    evbuffer_add_buffer_reference,
)
from cyevent.buffer.search cimport (
    evbuffer_search, evbuffer_search_range, evbuffer_search_eol, evbuffer_ptr_set, evbuffer_readln,
)
from cyevent.buffer.io cimport evbuffer_read, evbuffer_write, evbuffer_write_atmost
from cyevent.net.util cimport (
    evutil_make_socket_nonblocking, evutil_make_socket_closeonexec,
    evutil_make_listen_socket_reuseable, evutil_make_listen_socket_reuseable_port,
    evutil_make_listen_socket_ipv6only, evutil_make_listen_socket_not_ipv6only,
    evutil_make_tcp_listen_socket_deferred, evutil_set_tcp_keepalive, evutil_closesocket,
    evutil_socketpair, evutil_socket_geterror, evutil_socket_error_to_string,
)
from cyevent.net.types cimport (
    ev_int8_t, ev_int16_t, ev_int32_t, ev_int64_t, ev_intptr_t, ev_uint8_t, ev_uint16_t, ev_uint32_t,
    ev_uint64_t, ev_uintptr_t, EV_INT8_MAX, EV_INT8_MIN, EV_INT16_MAX, EV_INT16_MIN, EV_INT32_MAX,
    EV_INT32_MIN, EV_INT64_MAX, EV_INT64_MIN, EV_UINT8_MAX, EV_UINT16_MAX, EV_UINT32_MAX,
    EV_UINT64_MAX, EV_SIZE_MAX, EV_SSIZE_MAX, EV_SSIZE_MIN, EVUTIL_INVALID_SOCKET,
    EVUTIL_SOCKET_ERROR, EVUTIL_SET_SOCKET_ERROR, EVUTIL_SOCK_NONBLOCK, EVUTIL_SOCK_CLOEXEC,
    EVUTIL_EAI_ADDRFAMILY, EVUTIL_EAI_AGAIN, EVUTIL_EAI_BADFLAGS, EVUTIL_EAI_CANCEL, EVUTIL_EAI_FAIL,
    EVUTIL_EAI_FAMILY, EVUTIL_EAI_MEMORY, EVUTIL_EAI_NODATA, EVUTIL_EAI_NONAME, EVUTIL_EAI_SERVICE,
    EVUTIL_EAI_SOCKTYPE, EVUTIL_EAI_SYSTEM, EVUTIL_AI_ADDRCONFIG, EVUTIL_AI_ALL,
    EVUTIL_AI_CANONNAME, EVUTIL_AI_NUMERICHOST, EVUTIL_AI_NUMERICSERV, EVUTIL_AI_PASSIVE,
    EVUTIL_AI_V4MAPPED, evutil_addrinfo, evutil_timeradd, evutil_timersub, evutil_timerclear,
    evutil_timerisset, evutil_snprintf, evutil_vsnprintf,
)
from cyevent.net.sockaddr cimport (
    evutil_inet_ntop, evutil_inet_pton, evutil_inet_pton_scope, evutil_parse_sockaddr_port,
    evutil_sockaddr_cmp,
)
from cyevent.net.text cimport (
    tm, evutil_ascii_strcasecmp, evutil_ascii_strncasecmp, evutil_date_rfc1123, evutil_strtoll,
)
from cyevent.net.getaddrinfo cimport evutil_freeaddrinfo, evutil_gai_strerror, evutil_getaddrinfo
from cyevent.net.random cimport (
    evutil_secure_rng_add_bytes, evutil_secure_rng_get_bytes, evutil_secure_rng_init,
    evutil_secure_rng_set_urandom_device_file,
)
from cyevent.core.monotonic cimport (
    evutil_monotonic_timer, evutil_monotonic_timer_new, evutil_monotonic_timer_free,
    evutil_configure_monotonic_time, evutil_gettime_monotonic, evutil_gettimeofday,
    EV_MONOT_PRECISE, EV_MONOT_FALLBACK,
)
from cyevent.net.listener cimport (
    evconnlistener, evconnlistener_cb, evconnlistener_errorcb, evconnlistener_new,
    evconnlistener_new_bind, evconnlistener_free, evconnlistener_enable, evconnlistener_disable,
    evconnlistener_get_base, evconnlistener_get_fd, evconnlistener_set_cb,
    evconnlistener_set_error_cb, LEV_OPT_LEAVE_SOCKETS_BLOCKING, LEV_OPT_CLOSE_ON_FREE,
    LEV_OPT_CLOSE_ON_EXEC, LEV_OPT_REUSEABLE, LEV_OPT_THREADSAFE, LEV_OPT_DISABLED,
    LEV_OPT_DEFERRED_ACCEPT, LEV_OPT_REUSEABLE_PORT, LEV_OPT_BIND_IPV6ONLY,
    LEV_OPT_BIND_IPV4_AND_IPV6,
)
from cyevent.bufferevent.types cimport (
    bufferevent, bufferevent_data_cb, bufferevent_event_cb, bufferevent_filter_cb,
    bufferevent_options, bufferevent_trigger_options, bufferevent_rate_limit_group,
    ev_token_bucket_cfg, evdns_base, ssl_st, EV_RATE_LIMIT_MAX, bufferevent_flush_mode,
    bufferevent_filter_result, BEV_EVENT_READING, BEV_EVENT_WRITING,
    BEV_EVENT_EOF, BEV_EVENT_ERROR, BEV_EVENT_TIMEOUT, BEV_EVENT_CONNECTED, BEV_OPT_CLOSE_ON_FREE,
    BEV_OPT_THREADSAFE, BEV_OPT_DEFER_CALLBACKS, BEV_OPT_UNLOCK_CALLBACKS, BEV_NORMAL, BEV_FLUSH,
    BEV_FINISHED, BEV_TRIG_IGNORE_WATERMARKS, BEV_TRIG_DEFER_CALLBACKS, BEV_OK, BEV_NEED_MORE,
    BEV_ERROR,
)
from cyevent.bufferevent.bufferevent cimport (
    bufferevent_free, bufferevent_incref, bufferevent_decref, bufferevent_lock, bufferevent_unlock,
    bufferevent_setcb, bufferevent_getcb, bufferevent_get_base, bufferevent_get_underlying,
    bufferevent_setfd, bufferevent_replacefd, bufferevent_getfd, bufferevent_get_priority,
    bufferevent_write, bufferevent_write_buffer, bufferevent_read, bufferevent_read_buffer,
    bufferevent_get_input, bufferevent_get_output, bufferevent_flush, bufferevent_enable,
    bufferevent_disable, bufferevent_get_enabled, bufferevent_set_timeouts,
    bufferevent_setwatermark, bufferevent_getwatermark, bufferevent_trigger,
    bufferevent_trigger_event, bufferevent_set_max_single_read, bufferevent_set_max_single_write,
    bufferevent_get_max_single_read, bufferevent_get_max_single_write,
)
from cyevent.bufferevent.tokens cimport ev_token_bucket_cfg_new, ev_token_bucket_cfg_free
from cyevent.bufferevent.ratelimit cimport (
    bufferevent_set_rate_limit, bufferevent_get_token_bucket_cfg, bufferevent_get_read_limit,
    bufferevent_get_write_limit, bufferevent_decrement_read_limit,
    bufferevent_decrement_write_limit, bufferevent_get_max_to_read, bufferevent_get_max_to_write,
)
from cyevent.bufferevent.rategroup cimport (
    bufferevent_rate_limit_group_new, bufferevent_rate_limit_group_set_cfg,
    bufferevent_rate_limit_group_set_min_share, bufferevent_rate_limit_group_free,
    bufferevent_add_to_rate_limit_group, bufferevent_remove_from_rate_limit_group,
    bufferevent_rate_limit_group_get_read_limit, bufferevent_rate_limit_group_get_write_limit,
    bufferevent_rate_limit_group_decrement_read, bufferevent_rate_limit_group_decrement_write,
    bufferevent_rate_limit_group_get_totals, bufferevent_rate_limit_group_reset_totals,
)
from cyevent.bufferevent.hostname cimport (
    bufferevent_socket_connect_hostname, bufferevent_socket_connect_hostname_hints,
    bufferevent_socket_get_dns_error,
)
from cyevent.bufferevent.pair cimport bufferevent_pair_new, bufferevent_pair_get_partner
from cyevent.bufferevent.filter cimport bufferevent_filter_new
from cyevent.bufferevent.socket cimport (
    bufferevent_socket_new, bufferevent_socket_connect, bufferevent_priority_set,
    bufferevent_base_set,
)
from cyevent.bufferevent.ssl cimport (
    bufferevent_ssl_state, BUFFEREVENT_SSL_OPEN, BUFFEREVENT_SSL_CONNECTING, BUFFEREVENT_SSL_ACCEPTING,
    BUFFEREVENT_SSL_DIRTY_SHUTDOWN, BUFFEREVENT_SSL_BATCH_WRITE, bufferevent_openssl_filter_new,
    bufferevent_openssl_socket_new, bufferevent_openssl_get_allow_dirty_shutdown,
    bufferevent_openssl_set_allow_dirty_shutdown, bufferevent_openssl_get_ssl, bufferevent_ssl_renegotiate,
    bufferevent_get_openssl_error, bufferevent_ssl_get_flags, bufferevent_ssl_set_flags,
    bufferevent_ssl_clear_flags,
)
