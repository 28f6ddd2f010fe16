// wgmma: products of 128 threads that go on meanwhile. Operands are read when a product begins (early copies) or when it is
// waited for (late copies); accumulators are NaN from the one to the other.
#include "warpgroup.h"

#include <algorithm>
#include <cstring>

#include "block.h"
#include "shadow.h"

namespace kce
{
namespace
{
constexpr uint32_t Poison = 0xffffffff; // NaN
constexpr int Rows = 64, Depth = 16, ChunkBytes = 16, LineBytes = 128, PatternBytes = 1024;

template <class T> bool is_poisoned(const T* numbers, int count)
{
    for (int i = 0; i < count; i++)
        if (std::memcmp(numbers + i, &Poison, sizeof Poison) != 0) return false;
    return true;
}

template <class T> void poison(T* numbers, int count)
{
    for (int i = 0; i < count; i++) std::memcpy(numbers + i, &Poison, sizeof Poison);
}

// Where lane l's accumulator i lies in the product: as of mma m16n8, a warp for each 16 rows.
int row_of(unsigned lane, int i) { return static_cast<int>(lane / 32 * 16 + lane % 32 / 4) + i % 4 / 2 * 8; }
int column_of(unsigned lane, int i) { return i / 4 * 8 + static_cast<int>(lane % 4) * 2 + i % 2; }

float number_of(uint16_t bf16)
{
    uint32_t bits = static_cast<uint32_t>(bf16) << 16;
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}

// A descriptor taken apart.
struct Matrix
{
    size_t address, leading, stride;
    bool transposed;
    const char* where;

    Matrix(uint64_t bits, bool transposed, const char* where)
        : address((bits & 0x3fff) << 4), leading((bits >> 16 & 0x3fff) << 4), stride((bits >> 32 & 0x3fff) << 4),
          transposed(transposed), where(where)
    {
        if (bits >> 62 != 1) kce_fail("%s: a wgmma descriptor of another swizzle than that of 128 bytes, which is all that is emulated", where);
        if (bits & ~(uint64_t{3} << 62 | uint64_t{0x3fff} << 32 | uint64_t{0x3fff} << 16 | 0x3fff))
            kce_fail("%s: a wgmma descriptor with a base offset, or with bits that have no meaning", where);
        if (transposed ? address % PatternBytes != 0 : address % PatternBytes > LineBytes - Depth * 2)
            kce_fail("%s: a wgmma descriptor whose 8 lines of 128 bytes do not begin at a multiple of 1024 bytes (address %zu)", where, address);
    }

    // The 16 bytes that hold 8 numbers: of one line along the depth, or transposed, of 8 lines at one depth.
    size_t chunk(int line, int depth) const
    {
        size_t at = transposed ? address + line / 64 * leading + depth / 8 * stride + depth % 8 * LineBytes + line % 64 * 2
                               : address + line / 8 * stride + line % 8 * LineBytes + depth * 2;
        return at ^ (at >> 7 & 7) << 4;
    }

    // numbers(line, depth) for `lines` lines.
    template <class Check, class Take> void read(BlockRunner& runner, int lines, Check check, Take take) const
    {
        auto* base = static_cast<const char*>(runner.shared().dynamic()) - runner.shared().offset(runner.shared().dynamic());
        for (int line = 0; line < lines; line += transposed ? 8 : 1)
            for (int depth = 0; depth < Depth; depth += transposed ? 1 : 8)
            {
                const char* from = base + chunk(line, depth);
                check(from, where);
                uint16_t numbers[8];
                std::memcpy(numbers, from, sizeof numbers);
                for (int i = 0; i < 8; i++)
                    take(transposed ? line + i : line, transposed ? depth : depth + i, number_of(numbers[i]));
            }
    }
};

// What the async proxy may read: written by copies that their threads waited for, then fenced, then a barrier.
void check_readable(BlockRunner& runner, const char* from, const char* where)
{
    if (!runner.shared().in_one_array(from, ChunkBytes))
        kce_fail("%s: %s: wgmma reads shared memory outside of every array", where, runner.kernel().name);
    auto check_writer = [&](uint32_t thread, uint32_t fences) {
        const WarpgroupLane& writer = runner.fiber(thread).warpgroup;
        if (writer.fences() <= fences)
            kce_fail("%s: %s: wgmma reads shared memory that thread %u wrote, with no fence_proxy_async after it", where, runner.kernel().name, thread);
        if (writer.epoch_of_fence(fences) == runner.barrier_epoch())
            kce_fail("%s: %s: wgmma reads shared memory that thread %u wrote, with no barrier between its fence_proxy_async and the wgmma", where,
                     runner.kernel().name, thread);
    };
    const AsyncWrites::Write& copy = runner.async_writes().at(runner.shared().offset(from));
    if (copy.number != 0 && copy.fences == AsyncWrites::UnderWay)
        kce_fail("%s: %s: wgmma reads what thread %u copies with cp.async and has not waited for", where, runner.kernel().name, copy.thread);
    if (!runner.kernel().checked) // ordinary writes are not known
    {
        if (copy.number != 0) check_writer(copy.thread, copy.fences);
        return;
    }
    for (int i = 0; i < ChunkBytes; i += 4)
    {
        const Shadow::Writer writer = runner.shadow().writer_of(runner, from + i);
        if (writer.thread == 0) kce_fail("%s: %s: wgmma reads shared memory that nobody wrote yet", where, runner.kernel().name);
        check_writer(writer.thread - 1, writer.fences);
    }
}
}

void WarpgroupLane::begin_block()
{
    commits = waited = 0;
    fenced = false;
    product = nullptr;
    fence_epochs_.clear();
    handed_over_.clear();
}

void WarpgroupLane::hand_over(const uint32_t* fragment)
{
    auto found = std::find_if(handed_over_.begin(), handed_over_.end(), [&](const HandedOver& other) { return other.fragment == fragment; });
    if (found == handed_over_.end()) found = handed_over_.insert(found, {fragment, {}});
    std::copy_n(fragment, 4, found->numbers.begin());
}

bool WarpgroupLane::is_handed_over(const uint32_t* fragment) const
{
    return std::any_of(handed_over_.begin(), handed_over_.end(),
                       [&](const HandedOver& other) { return other.fragment == fragment && std::equal(other.numbers.begin(), other.numbers.end(), fragment); });
}

void AsyncWrites::begin_block()
{
    std::fill_n(writes_.begin(), used_, Write());
    used_ = 0;
    count_ = 0;
}

uint32_t AsyncWrites::begun(size_t offset, uint32_t thread)
{
    if (writes_.empty()) writes_.resize(SharedMemory::RegionBytes / ChunkBytes);
    writes_[offset / ChunkBytes] = {++count_, thread, UnderWay};
    used_ = std::max(used_, offset / ChunkBytes + 1);
    return count_;
}

void AsyncWrites::landed(size_t offset, uint32_t number, uint32_t fences)
{
    Write& write = writes_[offset / ChunkBytes];
    if (write.number == number) write.fences = fences;
}

const AsyncWrites::Write& AsyncWrites::at(size_t offset) const
{
    static const Write none;
    return offset / ChunkBytes < used_ ? writes_[offset / ChunkBytes] : none;
}

void Warpgroups::begin_block(unsigned threads)
{
    groups_.resize((threads + Lanes - 1) / Lanes);
    for (Group& group : groups_)
    {
        group.arrived = 0;
        group.chains.clear();
        group.fragments.clear();
    }
}

void Warpgroups::begin(BlockRunner& runner, Fiber& lane, const WarpgroupProduct& product, const char* where)
{
    const unsigned number = lane.linear / Lanes;
    Group& group = groups_[number];
    if ((number + 1) * Lanes > runner.thread_count())
        kce_fail("%s: %s: wgmma of thread %u, whose warpgroup has not all of its 128 threads", where, runner.kernel().name, lane.linear);
    if (group.arrived != 0 && group.where != where && std::strcmp(group.where, where) != 0)
        kce_fail("%s: %s: lanes of one warpgroup meet in different wgmma: thread %u, and others at %s", where, runner.kernel().name, lane.linear, group.where);
    group.where = where;
    lane.warpgroup.product = &product;
    if (++group.arrived == Lanes)
    {
        group.arrived = 0;
        start(runner, number, where);
        runner.release_warpgroup(number);
    }
    runner.wait_for_warpgroup(where);
}

void Warpgroups::start(BlockRunner& runner, unsigned number, const char* where)
{
    Group& group = groups_[number];
    auto lane = [&](unsigned l) -> WarpgroupLane& { return runner.fiber(number * Lanes + l).warpgroup; };
    const WarpgroupProduct& first = *lane(0).product;
    const int columns = 8 * first.blocks, numbers = 4 * first.blocks;
    for (unsigned l = 1; l < Lanes; l++)
    {
        const WarpgroupProduct& other = *lane(l).product;
        if (other.a != first.a || other.b != first.b || other.blocks != first.blocks || other.transposed_a != first.transposed_a ||
            other.transposed_b != first.transposed_b || other.adds != first.adds || !other.fragment != !first.fragment)
            kce_fail("%s: %s: lanes of one warpgroup give wgmma different descriptors or sizes", where, runner.kernel().name);
        if (lane(l).commits != lane(0).commits) kce_fail("%s: %s: lanes of one warpgroup have committed different numbers of groups", where, runner.kernel().name);
    }

    auto adds_to = [&](const Chain& chain, unsigned l) { return chain.accumulators[l] == lane(l).product->accumulators && !chain.released[l]; };
    auto found = std::find_if(group.chains.begin(), group.chains.end(), [&](const Chain& chain) { return adds_to(chain, 0); });
    if (found == group.chains.end())
    {
        Chain chain{first.blocks, first.multiply, {}, std::vector<float>(Rows * columns), {}, 0, nullptr, {}, 0};
        for (unsigned l = 0; l < Lanes; l++)
        {
            float* mine = chain.accumulators[l] = lane(l).product->accumulators;
            if (!lane(l).fenced)
                kce_fail("%s: %s: wgmma adds to registers of thread %u that no wgmma_fence has handed over", where, runner.kernel().name, number * Lanes + l);
            for (int i = 0; i < numbers; i++) chain.sums[row_of(l, i) * columns + column_of(l, i)] = mine[i];
            poison(mine, numbers);
        }
        group.chains.push_back(std::move(chain));
        found = group.chains.end() - 1;
    }
    else
        for (unsigned l = 0; l < Lanes; l++)
        {
            if (!adds_to(*found, l) || found->blocks != first.blocks)
                kce_fail("%s: %s: wgmma adds to accumulators that another wgmma of other registers or another size is adding to", where, runner.kernel().name);
            if (!is_poisoned(found->accumulators[l], numbers))
                kce_fail("%s: %s: thread %u has written to accumulators that a wgmma, not waited for, adds to", where, runner.kernel().name, number * Lanes + l);
        }

    Product product{first.a, first.b, first.transposed_a, first.transposed_b, first.adds, {}, lane(0).commits, runner.async_writes().count(), where};
    if (first.fragment) product.of_registers = take_fragments(runner, number, product.group, where);
    found->last_group = product.group;
    found->where = where;
    for (int side = first.fragment ? 1 : 0; side < 2; side++)
        Matrix(side ? product.b : product.a, side ? product.transposed_b : product.transposed_a, where)
            .read(runner, side ? columns : Rows, [&](const char* from, const char* at) { check_readable(runner, from, at); }, [](int, int, float) {});
    if (settings().copies == CopyTiming::Early) finish(runner, *found, product);
    else found->products.push_back(std::move(product));
}

// a of the lanes' registers, which are NaN from now on. Several products under way may read the same.
std::vector<float> Warpgroups::take_fragments(BlockRunner& runner, unsigned number, int commits, const char* where)
{
    Group& group = groups_[number];
    auto lane = [&](unsigned l) -> WarpgroupLane& { return runner.fiber(number * Lanes + l).warpgroup; };
    auto reads = [&](const Fragments& fragments, unsigned l) { return fragments.registers[l] == lane(l).product->fragment && !fragments.released[l]; };
    auto found = std::find_if(group.fragments.begin(), group.fragments.end(), [&](const Fragments& fragments) { return reads(fragments, 0); });
    const bool is_new = found == group.fragments.end();
    if (is_new) found = group.fragments.insert(found, Fragments{});
    found->last_group = commits;
    std::vector<float> a(Rows * Depth);
    for (unsigned l = 0; l < Lanes; l++)
    {
        uint32_t* mine = lane(l).product->fragment;
        if (is_new)
        {
            if (!lane(l).is_handed_over(mine))
                kce_fail("%s: %s: wgmma reads registers of thread %u that no wgmma_fence has handed over", where, runner.kernel().name, number * Lanes + l);
            found->registers[l] = mine;
            std::copy_n(mine, 4, found->numbers[l].begin());
            poison(mine, 4);
        }
        else if (!reads(*found, l) || !is_poisoned(mine, 4))
            kce_fail("%s: %s: thread %u has written to registers that a wgmma, not waited for, reads", where, runner.kernel().name, number * Lanes + l);
        // As A of mma m16n8k16, a warp for each 16 rows.
        for (int i = 0; i < 8; i++)
        {
            const int row = static_cast<int>(l / 32 * 16 + l % 32 / 4) + i / 2 % 2 * 8, depth = static_cast<int>(l % 4) * 2 + i % 2 + i / 4 * 8;
            a[row * Depth + depth] = number_of(static_cast<uint16_t>(found->numbers[l][i / 2] >> i % 2 * 16));
        }
    }
    return a;
}

// Reads the operands, now, and adds their product to the chain's sums.
void Warpgroups::finish(BlockRunner& runner, Chain& chain, const Product& product)
{
    const int columns = 8 * chain.blocks;
    std::vector<float> a(product.of_registers), b(Depth * columns);
    auto check = [&](const char* from, const char* where) {
        const AsyncWrites::Write& copy = runner.async_writes().at(runner.shared().offset(from));
        if (copy.number > product.copies)
            kce_fail("%s: %s: thread %u copies to shared memory that a wgmma, not waited for, reads", where, runner.kernel().name, copy.thread);
        kce_touch(from, ChunkBytes, false, where);
    };
    if (a.empty())
    {
        a.resize(Rows * Depth);
        Matrix(product.a, product.transposed_a, product.where).read(runner, Rows, check, [&](int line, int depth, float x) { a[line * Depth + depth] = x; });
    }
    Matrix(product.b, product.transposed_b, product.where).read(runner, columns, check, [&](int line, int depth, float x) { b[depth * columns + line] = x; });
    if (!product.adds) std::fill(chain.sums.begin(), chain.sums.end(), 0.0f);
    chain.multiply(chain.sums.data(), a.data(), b.data());
}

void Warpgroups::wait(BlockRunner& runner, Fiber& fiber, int groups_left, const char* where)
{
    WarpgroupLane& lane = fiber.warpgroup;
    const unsigned l = fiber.linear % Lanes;
    Group& group = groups_[fiber.linear / Lanes];
    lane.waited = std::max(lane.waited, lane.commits - groups_left);
    for (Chain& chain : group.chains)
    {
        if (chain.released[l]) continue;
        auto done = chain.products.begin();
        for (; done != chain.products.end() && done->group < lane.waited; done++) finish(runner, chain, *done);
        chain.products.erase(chain.products.begin(), done);
        if (chain.last_group >= lane.waited) continue;
        const int columns = 8 * chain.blocks, numbers = 4 * chain.blocks;
        float* mine = chain.accumulators[l];
        if (!is_poisoned(mine, numbers))
            kce_fail("%s: %s: thread %u has written to accumulators that a wgmma, not waited for, adds to", where, runner.kernel().name, fiber.linear);
        for (int i = 0; i < numbers; i++) mine[i] = chain.sums[row_of(l, i) * columns + column_of(l, i)];
        lane.fenced = false;
        chain.released[l] = true;
        chain.releases++;
    }
    for (Fragments& fragments : group.fragments)
    {
        if (fragments.released[l] || fragments.last_group >= lane.waited) continue;
        if (!is_poisoned(fragments.registers[l], 4))
            kce_fail("%s: %s: thread %u has written to registers that a wgmma, not waited for, reads", where, runner.kernel().name, fiber.linear);
        std::copy_n(fragments.numbers[l].begin(), 4, fragments.registers[l]);
        fragments.released[l] = true;
        fragments.releases++;
    }
    auto released = [](const auto& held) { return held.releases == Lanes; };
    group.chains.erase(std::remove_if(group.chains.begin(), group.chains.end(), released), group.chains.end());
    group.fragments.erase(std::remove_if(group.fragments.begin(), group.fragments.end(), released), group.fragments.end());
}

const char* Warpgroups::unfinished(const Fiber& fiber) const
{
    for (const Chain& chain : groups_[fiber.linear / Lanes].chains)
        if (!chain.released[fiber.linear % Lanes]) return chain.where;
    return nullptr;
}
}

using namespace kce;

extern "C" void kce_fence_proxy_async() { BlockRunner::running()->warpgroup.fence(BlockRunner::current()->barrier_epoch()); }

extern "C" uint32_t kce_shared_address(const void* pointer, const char* where)
{
    const SharedMemory& shared = BlockRunner::current()->shared();
    if (!shared.contains(pointer)) kce_fail("%s: the address in shared memory of something that is not there", where);
    return static_cast<uint32_t>(shared.offset(pointer));
}

extern "C" void kce_wgmma(const WarpgroupProduct* product, const char* where)
{
    BlockRunner* runner = BlockRunner::current();
    runner->warpgroups().begin(*runner, *BlockRunner::running(), *product, where);
}

extern "C" void kce_wgmma_fence() { BlockRunner::running()->warpgroup.fenced = true; }

extern "C" void kce_wgmma_fence_fragment(const uint32_t* fragment) { BlockRunner::running()->warpgroup.hand_over(fragment); }

extern "C" void kce_wgmma_commit() { BlockRunner::running()->warpgroup.commits++; }

extern "C" void kce_wgmma_wait(int groups_left, const char* where)
{
    BlockRunner* runner = BlockRunner::current();
    runner->warpgroups().wait(*runner, *BlockRunner::running(), groups_left, where);
}
