#include "grid.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "errors.h"

namespace kce
{
namespace
{
class Pool
{
public:
    Pool()
    {
        for (int i = 1; i < settings().threads; i++) std::thread([this] { work(); }).detach();
        helpers_ = settings().threads - 1;
    }

    void run(const Launch& launch)
    {
        blocks_ = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
        next_ = 0;
        launch_ = &launch;
        bool shared = blocks_ > 1 && helpers_ > 0;
        if (shared)
        {
            std::lock_guard lock(mutex_);
            busy_ = helpers_;
            generation_++;
            start_.notify_all();
        }
        take_blocks(own_);
        if (shared)
        {
            std::unique_lock lock(mutex_);
            done_.wait(lock, [&] { return busy_ == 0; });
        }
    }

private:
    void take_blocks(BlockRunner& runner)
    {
        const Index grid = launch_->grid;
        for (uint64_t i; fault() == Success && (i = next_.fetch_add(1)) < blocks_;)
        {
            uint64_t b = settings().order == Order::Reverse ? blocks_ - 1 - i : i;
            runner.run(*launch_, {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                                  static_cast<unsigned>(b / (uint64_t{grid.x} * grid.y))});
        }
    }

    void work()
    {
        BlockRunner runner;
        for (uint64_t seen = 0;;)
        {
            {
                std::unique_lock lock(mutex_);
                start_.wait(lock, [&] { return generation_ != seen; });
                seen = generation_;
            }
            take_blocks(runner);
            std::lock_guard lock(mutex_);
            if (--busy_ == 0) done_.notify_one();
        }
    }

    BlockRunner own_;
    std::mutex mutex_;
    std::condition_variable start_, done_;
    uint64_t generation_ = 0;
    int busy_ = 0, helpers_ = 0;
    const Launch* launch_ = nullptr;
    uint64_t blocks_ = 0;
    std::atomic<uint64_t> next_{0};
};
}

void run_grid(const Launch& launch)
{
    // Never destroyed: its threads may outlive static destruction.
    static Pool& pool = *new Pool;
    pool.run(launch);
}
}
