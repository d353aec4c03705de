// scratch: memory of a thread for what is computed on the way, and when work is worth sharing out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ponder {

constexpr double kWorthSharing = 6000.0;  // ns: below it a hand-over costs more than it saves

template <class T>
inline T* scratch(size_t count) {
  thread_local std::vector<T> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

// The next multiple of 64 bytes.
inline uint8_t* aligned(uint8_t* p) {
  return p + (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64;
}

}  // namespace ponder
