// Products of warpgroups (wgmma) that are under way, and what cp.async wrote for them to read.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "abi.h"

namespace kce
{
struct Fiber;
class BlockRunner;

// Of one thread.
class WarpgroupLane
{
public:
    void begin_block();

    // Its fence.proxy.async so far, and at which barrier of the block each was.
    uint32_t fences() const { return static_cast<uint32_t>(fence_epochs_.size()); }
    uint32_t epoch_of_fence(uint32_t fence) const { return fence_epochs_[fence]; }
    void fence(uint32_t barrier_epoch) { fence_epochs_.push_back(barrier_epoch); }

    // wgmma.fence hands over a fragment of a first operand as it is now; whether one has been handed over as it is now.
    void hand_over(const uint32_t* fragment);
    bool is_handed_over(const uint32_t* fragment) const;

    int commits = 0;
    int waited = 0;                    // groups it has waited for
    bool fenced = false;               // wgmma.fence handed its registers over, and no sums came back since
    const WarpgroupProduct* product = nullptr; // while it waits for the others

private:
    struct HandedOver
    {
        const uint32_t* fragment;
        std::array<uint32_t, 4> numbers;
    };

    std::vector<uint32_t> fence_epochs_;
    std::vector<HandedOver> handed_over_;
};

// Which copies wrote each 16 bytes of shared memory.
class AsyncWrites
{
public:
    static constexpr uint32_t UnderWay = UINT32_MAX;

    struct Write
    {
        uint32_t number = 0;        // of the block's copies, from 1; 0: none
        uint32_t thread = 0;
        uint32_t fences = UnderWay; // fence.proxy.async of that thread when it had waited for the copy
    };

    void begin_block();
    uint32_t begun(size_t offset, uint32_t thread);
    void landed(size_t offset, uint32_t number, uint32_t fences);
    const Write& at(size_t offset) const;
    uint32_t count() const { return count_; }

private:
    std::vector<Write> writes_;
    size_t used_ = 0;
    uint32_t count_ = 0;
};

// The warpgroups of a block: threads 128 g .. 128 g + 127.
class Warpgroups
{
public:
    static constexpr unsigned Lanes = 128;

    void begin_block(unsigned threads);

    // A lane arrives with its operands; the last one begins the product and lets all go on.
    void begin(BlockRunner& runner, Fiber& lane, const WarpgroupProduct& product, const char* where);

    void wait(BlockRunner& runner, Fiber& lane, int groups_left, const char* where);

    // Where a product was begun that the thread has not waited for, or null.
    const char* unfinished(const Fiber& lane) const;

private:
    struct Product
    {
        uint64_t a, b;
        bool transposed_a, transposed_b, adds;
        std::vector<float> of_registers; // a, where it came in those
        int group;           // of the warpgroup's commits, from 0
        uint32_t copies;     // of the block when it began
        const char* where;
    };

    // Products that add to the same accumulators. Their sums lie here until all have been waited for.
    struct Chain
    {
        int blocks;
        void (*multiply)(float* sums, const float* a, const float* b);
        std::array<float*, Lanes> accumulators;
        std::vector<float> sums; // [64][8 blocks]
        std::vector<Product> products;    // whose operands are yet to be read, oldest first
        int last_group;
        const char* where;                // the last product's
        std::array<bool, Lanes> released; // lanes that have their sums
        unsigned releases = 0;
    };

    // Registers that products read a from. They are NaN until all have been waited for; what they held lies here.
    struct Fragments
    {
        std::array<uint32_t*, Lanes> registers;
        std::array<std::array<uint32_t, 4>, Lanes> numbers;
        int last_group;
        std::array<bool, Lanes> released;
        unsigned releases = 0;
    };

    struct Group
    {
        unsigned arrived = 0;
        const char* where = nullptr;
        std::vector<Chain> chains;
        std::vector<Fragments> fragments;
    };

    void start(BlockRunner& runner, unsigned group, const char* where);
    std::vector<float> take_fragments(BlockRunner& runner, unsigned group, int commits, const char* where);
    void finish(BlockRunner& runner, Chain& chain, const Product& product);

    std::vector<Group> groups_;
};
}
