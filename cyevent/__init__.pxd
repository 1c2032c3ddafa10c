# libevent's names for code that cimports: `from cyevent cimport event_new, event_add, ...`.
# Names that end in an underscore are the library's own and stay in their rooms.

from cyevent.core.sys cimport evutil_socket_t, timeval
from cyevent.core.types cimport (
    event, event_base, event_config, event_callback_fn, event_finalize_callback_fn,
    event_base_foreach_event_cb, event_callback, evwatch, evwatch_prepare_cb, evwatch_check_cb,
    evwatch_prepare_cb_info, evwatch_check_cb_info, EV_TIMEOUT, EV_READ, EV_WRITE, EV_SIGNAL,
    EV_PERSIST, EV_ET, EV_FINALIZE, EV_CLOSED, EVLOOP_ONCE, EVLOOP_NONBLOCK,
    EVLOOP_NO_EXIT_ON_EMPTY, event_method_feature, EV_FEATURE_ET, EV_FEATURE_O1, EV_FEATURE_FDS,
    EV_FEATURE_EARLY_CLOSE, event_base_config_flag, EVENT_BASE_FLAG_NOLOCK,
    EVENT_BASE_FLAG_IGNORE_ENV, EVENT_BASE_FLAG_STARTUP_IOCP, EVENT_BASE_FLAG_NO_CACHE_TIME,
    EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST, EVENT_BASE_FLAG_PRECISE_TIMER,
    EVENT_BASE_FLAG_EPOLL_DISALLOW_TIMERFD, EVENT_BASE_FLAG_USE_SIGNALFD, EVENT_BASE_COUNT_ACTIVE,
    EVENT_BASE_COUNT_VIRTUAL, EVENT_BASE_COUNT_ADDED, EVENT_MAX_PRIORITIES,
)
from cyevent.core.memory cimport (
    event_set_mem_functions,
)
from cyevent.core.log cimport (
    event_log_cb, event_fatal_cb, event_set_log_callback, event_set_fatal_callback,
    EVENT_LOG_DEBUG, EVENT_LOG_MSG, EVENT_LOG_WARN, EVENT_LOG_ERR,
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
    event_new, event_assign, event_free, event_self_cbarg, event_base_set, event_base_once,
    event_add, event_remove_timer, event_del, event_del_block, event_del_noblock, event_active,
    event_pending, event_initialized, event_priority_set, event_get_priority, event_get_fd,
    event_get_base, event_get_events, event_get_callback, event_get_callback_arg,
    event_get_assignment, event_get_struct_event_size, event_finalize, event_free_finalize,
    event_base_init_common_timeout, event_base_active_by_fd, event_base_active_by_signal,
    evtimer_new, evtimer_assign, evtimer_add, evtimer_del, evtimer_pending, evtimer_initialized,
    evsignal_new, evsignal_assign, evsignal_add, evsignal_del, evsignal_pending,
    evsignal_initialized,
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
