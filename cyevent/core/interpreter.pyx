"""Entering the interpreter from a loop that runs without the GIL."""

cdef extern from "Python.h":
    int PyGILState_Ensure() noexcept nogil
    void PyGILState_Release(int state) noexcept nogil

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030D0000
      #define current_thread_state PyThreadState_GetUnchecked
    #else
      #define current_thread_state _PyThreadState_UncheckedGet
    #endif
    """
    PyThreadState *current_thread_state() noexcept nogil

cdef enum:
    HELD = -1                  # py_enter(): the loop's thread has the GIL and keeps it


cdef int py_enter(py_loop *loop) noexcept nogil:
    cdef PyThreadState *saved
    if not in_py_loop(loop):
        return PyGILState_Ensure()
    saved = loop.saved
    # It may be current although it is saved: C code in a callback took the GIL with PyGILState_Ensure, and
    # what it ran led here.
    if saved != NULL and current_thread_state() != saved:
        PyEval_RestoreThread(saved)
        loop.saved = NULL
    return HELD


cdef void py_leave(py_loop *loop, int token) noexcept nogil:
    if token != HELD:
        PyGILState_Release(token)


cdef void give_up_gil(void *arg) noexcept nogil:
    cdef py_loop *loop = <py_loop *>arg
    if loop.saved == NULL and in_py_loop(loop):
        loop.saved = PyEval_SaveThread()
