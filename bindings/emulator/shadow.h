// Checked mode: who touched which 4 bytes of the block's shared memory last, and was it ordered before.
#pragma once
#include <cstdint>
#include <vector>

#include "shared_memory.h"

namespace kce
{
class BlockRunner;

class Shadow
{
public:
    // Forgets the last block's accesses.
    void begin_block();

    // Notes an access of the running thread to shared memory, and fails the launch when it races with another or
    // reads what nobody wrote. `pc` locates the access when `where` is null.
    void access(BlockRunner& runner, const void* address, size_t bytes, bool write, const char* where, const void* pc);

    // Of what wgmma is to read: who wrote these bytes last, and at which number of its fence.proxy.async. 0: nobody.
    struct Writer
    {
        uint32_t thread, fences;
    };
    Writer writer_of(const BlockRunner& runner, const void* address) const;

private:
    // Threads are numbered from 1, 0 is nobody.
    struct Cell
    {
        uint32_t writer = 0, write_barrier = 0, write_warp_epoch = 0;
        uint32_t writer_fences = 0;
        uint32_t reader = 0, read_barrier = 0, read_warp_epoch = 0;
        bool initialised = false;
        bool several_readers = false; // of one warp, since the barrier of read_barrier
        bool several_warps = false;
    };

    std::vector<Cell> cells_;
    size_t used_ = 0; // cells touched by this block
};
}
