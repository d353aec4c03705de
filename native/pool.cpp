#include "pool.h"

#include <pthread.h>

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ponder {
namespace {

std::atomic<int> forks{0};
const int forks_registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });

constexpr auto kSpin = std::chrono::microseconds(60);

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until ready() or for kSpin; says whether ready() held.
template <class Ready>
bool spin_until(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace

struct Pool::Shared {
  // One word names the job and hands out its tasks: job number (24 bits), tasks (20), next task (20).
  // A thread that gets a ticket below `tasks` owns that task, and the job cannot end before it.
  alignas(64) std::atomic<uint64_t> ticket{0};
  std::atomic<Call> call{nullptr};
  std::atomic<const void*> body{nullptr};
  alignas(64) std::atomic<uint32_t> done{0};
  alignas(64) std::atomic<uint32_t> wake{0};
  std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  static constexpr uint64_t kField = (1u << 20) - 1;
  static uint32_t next(uint64_t t) { return static_cast<uint32_t>(t & kField); }
  static uint32_t tasks(uint64_t t) { return static_cast<uint32_t>((t >> 20) & kField); }
  bool has_work() const {
    const uint64_t t = ticket.load(std::memory_order_relaxed);
    return next(t) < tasks(t);
  }

  void drain() {
    while (has_work()) {
      const uint64_t t = ticket.fetch_add(1, std::memory_order_acq_rel);
      if (next(t) >= tasks(t)) return;
      call.load(std::memory_order_relaxed)(body.load(std::memory_order_relaxed),
                                           static_cast<int>(next(t)));
      if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == tasks(t)) done.notify_one();
    }
  }

  void work() {
    while (!stop.load(std::memory_order_relaxed)) {
      if (!spin_until([this] { return has_work() || stop.load(std::memory_order_relaxed); })) {
        sleepers.fetch_add(1, std::memory_order_seq_cst);
        const uint32_t seen = wake.load(std::memory_order_seq_cst);
        if (!has_work() && !stop.load()) wake.wait(seen, std::memory_order_seq_cst);
        sleepers.fetch_sub(1, std::memory_order_seq_cst);
      }
      drain();
    }
  }
};

Pool::Pool(int threads) : threads_(threads < 1 ? 1 : threads) {}

void Pool::start() {
  // After a fork the old Shared is leaked on purpose: its threads exist in the parent only.
  forks_seen_ = forks.load();
  shared_ = new Shared;
  for (int i = 1; i < threads_; ++i) {
    shared_->workers.emplace_back([shared = shared_] { shared->work(); });
  }
}

Pool::~Pool() {
  if (shared_ == nullptr || forks_seen_ != forks.load()) return;
  shared_->stop.store(true);
  shared_->wake.fetch_add(1);
  shared_->wake.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
  delete shared_;
}

void Pool::run_job(int tasks, Call call, const void* body) {
  const std::lock_guard<std::mutex> lock(jobs_);
  if (shared_ == nullptr || forks_seen_ != forks.load(std::memory_order_relaxed)) start();
  Shared& s = *shared_;
  s.call.store(call, std::memory_order_relaxed);
  s.body.store(body, std::memory_order_relaxed);
  s.done.store(0, std::memory_order_relaxed);
  const uint64_t job = (s.ticket.load(std::memory_order_relaxed) >> 40) + 1;
  const uint64_t count = static_cast<uint64_t>(tasks) & Shared::kField;
  s.ticket.store((job << 40) | (count << 20), std::memory_order_seq_cst);
  s.wake.fetch_add(1, std::memory_order_seq_cst);
  if (s.sleepers.load(std::memory_order_seq_cst) > 0) s.wake.notify_all();
  s.drain();
  const auto finished = [&] { return s.done.load(std::memory_order_acquire) == count; };
  if (spin_until(finished)) return;
  for (uint32_t seen = s.done.load(); seen != count; seen = s.done.load()) s.done.wait(seen);
}

}  // namespace ponder
