// arrays: checked views of Python arrays through the buffer protocol.
//
// nanobind's ndarray would do; this costs a tenth of a microsecond an argument instead of one, and a
// decode step of a small model is made of such calls. A wrong array raises TypeError or ValueError.
#pragma once

#include <nanobind/nanobind.h>

#include <climits>
#include <cstdint>
#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ponder {

namespace nb = nanobind;

// An array with `dims` axes of 'f' float32, 'd' float64, 'i' int32 or 'H' uint16. The first
// `free_axes` axes may have any forward stride, the rest are contiguous.
class Array {
 public:
  Array(nb::handle object, const char* name, int dims, char format, bool writable = false,
        int free_axes = 0)
      : name_(name) {
    const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) nb::raise_python_error();
    const char* problem = check(dims, format, free_axes);
    if (problem == nullptr) return;
    const std::string given = describe();
    PyBuffer_Release(&view_);
    throw nb::type_error((std::string(name) + " is " + given + "; allowed is '" + format +
                          "' with " + std::to_string(dims) + " axes, " + problem)
                             .c_str());
  }
  ~Array() { PyBuffer_Release(&view_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  int dim(int axis) const { return static_cast<int>(view_.shape[axis]); }
  // Stride of an axis in elements.
  size_t stride(int axis) const {
    return static_cast<size_t>(view_.strides[axis] / view_.itemsize);
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(view_.buf);
  }
  void expect(int axis, int64_t size, const char* what) const {
    if (view_.shape[axis] == size) return;
    throw nb::value_error((std::string(name_) + " is " + describe() + "; axis " +
                           std::to_string(axis) + " must have " + std::to_string(size) + " (" +
                           what + ")")
                              .c_str());
  }

 private:
  const char* check(int dims, char format, int free_axes) const {
    const char* f = view_.format;
    const bool same = f != nullptr && f[0] == format && f[1] == 0;
    if (view_.ndim != dims || !same) return "of the machine's byte order";
    Py_ssize_t expected = view_.itemsize;
    for (int axis = dims - 1; axis >= 0; --axis) {
      if (view_.shape[axis] > INT_MAX) return "each below 2147483648";
      if (axis >= free_axes) {
        if (view_.strides[axis] != expected && view_.shape[axis] > 1) return "C-contiguous";
        expected *= view_.shape[axis];
      } else if (view_.strides[axis] < 0 || view_.strides[axis] % view_.itemsize != 0) {
        return "with forward strides";
      }
    }
    return nullptr;
  }
  std::string describe() const {
    std::string text = std::string("'") + (view_.format ? view_.format : "?") + "' (";
    for (int axis = 0; axis < view_.ndim; ++axis) {
      text += (axis ? ", " : "") + std::to_string(view_.shape[axis]);
    }
    return text + ")";
  }

  const char* name_;
  Py_buffer view_;
};

// The arithmetic is defined with subnormal numbers; a thread that flushes them to zero, as a trainer's
// may, computes with them while this lives.
class Subnormals {
 public:
  Subnormals() : state_(read()) {
    if (state_ & kFlush) write(state_ & ~kFlush);
  }
  ~Subnormals() {
    if (state_ & kFlush) write(state_);
  }
  Subnormals(const Subnormals&) = delete;
  Subnormals& operator=(const Subnormals&) = delete;

 private:
#if defined(__x86_64__)
  using State = unsigned;
  static constexpr State kFlush = 0x8040;
  static State read() { return _mm_getcsr(); }
  static void write(State state) { _mm_setcsr(state); }
#elif defined(__aarch64__)
  using State = uint64_t;
  static constexpr State kFlush = State{1} << 24;
  static State read() {
    State state;
    asm volatile("mrs %0, fpcr" : "=r"(state));
    return state;
  }
  static void write(State state) { asm volatile("msr fpcr, %0" : : "r"(state)); }
#else
  using State = unsigned;
  static constexpr State kFlush = 0;
  static State read() { return 0; }
  static void write(State) {}
#endif
  State state_;
};

// Releases the interpreter's lock for work long enough that others should run meanwhile. Shorter work
// keeps it: getting it back from a busy thread can take milliseconds. Every verb holds one.
class Unlocked {
 public:
  explicit Unlocked(double cost_ns) {
    if (cost_ns > 20000.0) state_ = PyEval_SaveThread();
  }
  ~Unlocked() {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  const Subnormals subnormals_;
  PyThreadState* state_ = nullptr;
};

}  // namespace ponder
