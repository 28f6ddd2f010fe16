namespace KernelContrast;

/// <summary>NumPy's broadcasting: shapes aligned at the right, a size of 1 (or none) repeats.</summary>
internal static class Broadcast
{
    /// <summary>The common shape of two.</summary>
    /// <exception cref="ArgumentException">A dimension has two sizes, neither of them 1.</exception>
    internal static Shape Common(string op, Shape a, Shape b)
    {
        int rank = Math.Max(a.Rank, b.Rank);
        var sizes = new int[rank];
        for (int i = 0; i < rank; i++)
        {
            int sizeA = SizeAt(a, i, rank), sizeB = SizeAt(b, i, rank);
            if (sizeA != sizeB && sizeA != 1 && sizeB != 1)
                throw new ArgumentException($"{op}: the shapes {a} and {b} do not broadcast: dimension {i - rank} is {sizeA} and {sizeB}. Sizes must be equal or 1, counted from the right.");
            sizes[i] = sizeA == 1 ? sizeB : sizeA;
        }
        return new(sizes);
    }

    private static int SizeAt(Shape shape, int dimension, int rank)
    {
        int own = dimension - (rank - shape.Rank);
        return own < 0 ? 1 : shape.Sizes[own];
    }

    /// <summary>Sizes of a loop over a shape in storage order, and for each operand its step per size (0 where it repeats).</summary>
    /// <param name="Sizes">Outermost first, none of them 1, as few as the operands' layouts allow.</param>
    /// <param name="StepA">Elements between neighbours of the first operand.</param>
    /// <param name="StepB">Elements between neighbours of the second operand.</param>
    internal sealed record Loop(int[] Sizes, long[] StepA, long[] StepB)
    {
        /// <summary>The loop over <paramref name="shape"/>'s elements as they are stored; both operands broadcast to it.</summary>
        internal static Loop Over(Shape shape, Shape a, Shape b)
        {
            int rank = shape.Rank;
            long[] stepA = Steps(a, shape), stepB = Steps(b, shape);
            int[] order = rank == 4 ? [0, 2, 3, 1] : [.. Enumerable.Range(0, rank)];
            List<int> sizes = [];
            List<long> stepsA = [], stepsB = [];
            foreach (int d in order)
            {
                int size = shape.Sizes[d];
                if (size == 1) continue;
                int last = sizes.Count - 1;
                if (last >= 0 && stepsA[last] == stepA[d] * size && stepsB[last] == stepB[d] * size)
                {
                    sizes[last] *= size;
                    (stepsA[last], stepsB[last]) = (stepA[d], stepB[d]);
                    continue;
                }
                sizes.Add(size);
                stepsA.Add(stepA[d]);
                stepsB.Add(stepB[d]);
            }
            if (sizes.Count == 0)
            {
                sizes.Add(1);
                stepsA.Add(0);
                stepsB.Add(0);
            }
            return new([.. sizes], [.. stepsA], [.. stepsB]);
        }

        /// <summary>Elements between neighbours along each dimension of <paramref name="shape"/> (NCHW order).</summary>
        private static long[] Steps(Shape operand, Shape shape)
        {
            var own = new long[operand.Rank];
            int[] innermostFirst = operand.Rank == 4 ? [1, 3, 2, 0] : [.. Enumerable.Range(0, operand.Rank).Reverse()];
            long step = 1;
            foreach (int d in innermostFirst)
            {
                own[d] = operand.Sizes[d] == 1 ? 0 : step;
                step *= operand.Sizes[d];
            }
            var steps = new long[shape.Rank];
            own.CopyTo(steps, shape.Rank - operand.Rank);
            return steps;
        }
    }
}
