// Many tensors in one launch: a table of them in device memory, cut into chunks, a block to each. What optimizers share.
#pragma once

// One tensor of a model; Ops/TensorGroup.Cuda.cs lays it out the same.
struct TensorEntry
{
    float* parameter;    // [count] what changes
    const float* source; // [count] its gradient, or what it follows
    float* first;        // [count] what an optimizer remembers, or null
    float* second;       // [count] likewise
    int64_t count, first_chunk;
    float decay;         // weight decay of this tensor
    int scaled;          // whether it has a trust ratio of its own
};

constexpr int ChunkElements = 4096;

// Elements start .. end - 1 of a tensor.
struct TensorChunk
{
    TensorEntry tensor;
    int64_t start, end;
};

// Chunk number `chunk` of the whole table: the last tensor whose first chunk is not behind it has it. Tensors without
// elements have no chunk.
DEV TensorChunk chunk_of(const TensorEntry* table, int tensors, int64_t chunk)
{
    int low = 0, high = tensors - 1;
    while (low < high)
    {
        const int middle = (low + high + 1) / 2;
        if (table[middle].first_chunk <= chunk) low = middle;
        else high = middle - 1;
    }
    TensorChunk found;
    found.tensor = table[low];
    found.start = (chunk - found.tensor.first_chunk) * ChunkElements;
    found.end = found.start + ChunkElements < found.tensor.count ? found.start + ChunkElements : found.tensor.count;
    return found;
}
