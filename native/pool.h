// pool: a persistent pool of threads that run the numbered tasks of one job at a time.
//
// Workers spin briefly after a job, then sleep, so that a decode loop pays no wake-ups and an idle
// process costs nothing. Which thread runs a task never changes a result.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ponder {

class Pool {
 public:
  // `threads` counts the calling thread; workers start with the first job that wants them.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Calls body(task) once for every task in [0, tasks) and returns when all are done.
  template <class Body>
  void run(int tasks, const Body& body) {
    if (tasks <= 1 || threads_ == 1) {
      for (int i = 0; i < tasks; ++i) body(i);
      return;
    }
    run_job(tasks, [](const void* b, int i) { (*static_cast<const Body*>(b))(i); }, &body);
  }

 private:
  using Call = void (*)(const void* body, int task);
  // Everything the threads share. A process forked from ours abandons it: its threads are gone.
  struct Shared;

  void run_job(int tasks, Call call, const void* body);
  void start();

  int threads_;
  std::mutex jobs_;
  Shared* shared_ = nullptr;
  int forks_seen_ = 0;
};

}  // namespace ponder
