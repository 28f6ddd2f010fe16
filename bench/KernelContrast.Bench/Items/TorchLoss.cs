using KernelContrast.Cli.Bench;
using KernelContrast.Losses;
using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

/// <summary>How the peer is written.</summary>
internal enum TorchStyle
{
    /// <summary>As in the papers' code: autograd over the matrix of similarities.</summary>
    User,
    /// <summary>By an expert: forward and backward by hand, in place in one matrix of similarities.</summary>
    InPlace,
    /// <summary>The same in chunks of rows, so that the matrix never exists whole.</summary>
    Chunked,
}

/// <summary>The peer's side of a <see cref="LossProblem"/>.</summary>
internal sealed class TorchLoss : IDisposable
{
    private const int ChunkRows = 1024;

    private readonly LossKind _kind;
    private readonly bool _hasKeysGradient;
    private readonly double _temperature;
    private readonly TorchTensor _x, _rows;
    private readonly TorchTensor? _keys, _positives, _self, _partner, _partnerColumn, _excluded, _sameLabel, _counts;

    internal TorchLoss(LossProblem problem)
    {
        (_kind, _temperature, _hasKeysGradient) = (problem.Kind, problem.Temperature, problem.HasKeysGradient);
        int rows = problem.Rows;
        _x = Torch.From(problem.Embeddings.ToArray(), rows, problem.Dim);
        _keys = problem.Keys is { } keys ? Torch.From(keys.ToArray(), problem.Columns, problem.Dim) : null;
        _positives = problem.Positives is { } positives ? Torch.From(positives.ToArray(), rows, problem.Dim) : null;
        _rows = torch.arange(rows);
        if (!problem.IsWithinBatch) return;
        _self = torch.eye(rows, dtype: torch.ScalarType.Bool);
        _partner = torch.cat([torch.arange(rows / 2, rows), torch.arange(0, rows / 2)], 0);
        _partnerColumn = _partner.unsqueeze(1);
        if (_kind == LossKind.Dcl) _excluded = _self.scatter(1, _partnerColumn, torch.ones(rows, 1, dtype: torch.ScalarType.Bool));
        if (problem.Labels is not { } given) return;
        using TorchTensor labels = torch.tensor(given.ToArray<int>());
        _sameLabel = labels.unsqueeze(0).eq(labels.unsqueeze(1)).logical_and(_self.logical_not()).to(torch.ScalarType.Float32);
        _counts = _sameLabel.sum(1);
    }

    /// <summary>Forward and backward; the gradients are dropped.</summary>
    internal void Run(TorchStyle style)
    {
        using var scope = torch.NewDisposeScope();
        _ = Gradients(style);
    }

    /// <summary>The loss and the gradients of all embeddings that have one, one after the other, in a style.</summary>
    internal (double Loss, float[] Gradients) Evaluate(TorchStyle style)
    {
        using var scope = torch.NewDisposeScope();
        (TorchTensor loss, TorchTensor x, TorchTensor? keys) = Gradients(style);
        return (loss.to(torch.ScalarType.Float64).item<double>(), [.. Torch.ToArray(x), .. keys is null ? [] : Torch.ToArray(keys)]);
    }

    /// <summary>The same in double precision, as a user writes it.</summary>
    internal (double Loss, double[] Gradients) Exact()
    {
        using var scope = torch.NewDisposeScope();
        TorchTensor x = Torch.Leaf(_x.to(torch.ScalarType.Float64));
        TorchTensor? keys = _keys?.to(torch.ScalarType.Float64);
        if (keys is not null && _hasKeysGradient) keys = Torch.Leaf(keys);
        TorchTensor loss = User(x, keys, _positives?.to(torch.ScalarType.Float64));
        loss.backward();
        return (loss.item<double>(), [.. Torch.ToDoubles(x.grad!), .. keys?.grad is { } grad ? Torch.ToDoubles(grad) : []]);
    }

    public void Dispose()
    {
        foreach (TorchTensor? tensor in new[] { _x, _rows, _keys, _positives, _self, _partner, _partnerColumn, _excluded, _sameLabel, _counts }) tensor?.Dispose();
    }

    private (TorchTensor Loss, TorchTensor X, TorchTensor? Keys) Gradients(TorchStyle style)
    {
        if (style == TorchStyle.User)
        {
            TorchTensor x = Torch.Leaf(_x);
            TorchTensor? keys = _keys is null || !_hasKeysGradient ? _keys : Torch.Leaf(_keys);
            TorchTensor loss = User(x, keys, _positives);
            loss.backward();
            return (loss, x.grad!, _hasKeysGradient ? keys?.grad : null);
        }
        using var unrecorded = torch.no_grad();
        return ByHand(style == TorchStyle.InPlace ? (int)_x.shape[0] : ChunkRows);
    }

    private TorchTensor User(TorchTensor x, TorchTensor? keys, TorchTensor? positives)
    {
        TorchTensor z = functional.normalize(x, dim: 1), other = keys is null ? z : functional.normalize(keys, dim: 1);
        TorchTensor logits = z.mm(other.t()).div(_temperature);
        switch (_kind)
        {
            case LossKind.NtXent:
                return functional.cross_entropy(logits.masked_fill(_self!, double.NegativeInfinity), _partner!);
            case LossKind.Dcl:
                return (logits.masked_fill(_excluded!, double.NegativeInfinity).logsumexp(1) - logits.gather(1, _partnerColumn!).squeeze(1)).mean();
            case LossKind.SupCon:
                TorchTensor logProbability = logits - logits.masked_fill(_self!, double.NegativeInfinity).logsumexp(1, keepdim: true);
                return -(logProbability.mul(_sameLabel!).sum(1) / _counts!).mean();
            case LossKind.InfoNce:
                return functional.cross_entropy(logits, _rows);
            case LossKind.Clip:
                return (functional.cross_entropy(logits, _rows) + functional.cross_entropy(logits.t(), _rows)) / 2;
            case LossKind.SigLip:
                // sign +1 on the diagonal, −1 elsewhere
                TorchTensor sign = torch.eye(logits.shape[0], dtype: logits.dtype).mul(2).sub(1);
                return -functional.logsigmoid((logits + LossProblem.Bias) * sign).sum() / logits.shape[0];
            default:
                TorchTensor positive = z.mul(functional.normalize(positives!, dim: 1)).sum(1, keepdim: true).div(_temperature);
                return functional.cross_entropy(torch.cat([positive, logits], 1), torch.zeros(_rows.shape[0], dtype: torch.ScalarType.Int64));
        }
    }

    private (TorchTensor Loss, TorchTensor X, TorchTensor? Keys) ByHand(int chunk)
    {
        (TorchTensor z, TorchTensor norm) = Unit(_x);
        (TorchTensor other, TorchTensor? otherNorm) = _keys is null ? (z, null) : Unit(_keys);
        TorchTensor gradZ = torch.zeros_like(z), gradOther = _keys is null ? gradZ : _hasKeysGradient ? torch.zeros_like(other) : gradZ.narrow(0, 0, 0);
        long rows = z.shape[0];
        TorchTensor loss = torch.zeros(1, dtype: torch.ScalarType.Float64);
        bool bothFromOne = _kind == LossKind.Clip && chunk >= rows;
        double scale = 1 / (_temperature * rows * (_kind == LossKind.Clip ? 2 : 1));
        Pass(z, other, gradZ, gradOther);
        if (_kind == LossKind.Clip && !bothFromOne) Pass(other, z, gradOther, gradZ);
        loss.div_(_kind == LossKind.Clip ? 2 * rows : rows);
        return (loss, ThroughNorm(gradZ, z, norm), _keys is null || !_hasKeysGradient ? null : ThroughNorm(gradOther, other, otherNorm!));

        void Pass(TorchTensor a, TorchTensor b, TorchTensor gradA, TorchTensor gradB)
        {
            for (long start = 0; start < rows; start += chunk)
            {
                using var scope = torch.NewDisposeScope();
                long count = Math.Min(chunk, rows - start);
                TorchTensor part = a.narrow(0, start, count), s = part.mm(b.t()).div_(_temperature);
                TorchTensor gradPart = gradA.narrow(0, start, count);
                loss.add_(bothFromOne ? BothSides(s) : Rows(s, part, gradPart, start, count));
                gradPart.addmm_(s, b, 1, (float)scale);
                if (_keys is null || _hasKeysGradient) gradB.addmm_(s.t(), part, 1, (float)scale);
            }
        }

        // Logits become ∂(sum of the rows' losses)/∂logits; returns that sum.
        TorchTensor Rows(TorchTensor s, TorchTensor part, TorchTensor gradPart, long start, long count)
        {
            TorchTensor diagonal = s.diagonal(start);
            if (_kind == LossKind.SigLip)
            {
                s.add_(LossProblem.Bias);
                TorchTensor sum = functional.softplus(s).sum() - diagonal.sum();
                s.sigmoid_();
                diagonal.sub_(1);
                return sum;
            }
            if (_keys is null) diagonal.fill_(double.NegativeInfinity);
            switch (_kind)
            {
                case LossKind.SupCon:
                    TorchTensor mask = _sameLabel!.narrow(0, start, count), counts = _counts!.narrow(0, start, count).unsqueeze(1);
                    TorchTensor all = s.logsumexp(1, keepdim: true);
                    diagonal.fill_(0);
                    TorchTensor supervised = (all - s.mul(mask).sum(1, keepdim: true).div_(counts)).sum();
                    s.sub_(all).exp_();
                    diagonal.fill_(0);
                    s.sub_(mask.div(counts));
                    return supervised;
                case LossKind.Moco:
                    TorchTensor key = Unit(_positives!.narrow(0, start, count)).Z;
                    TorchTensor positive = part.mul(key).sum(1, keepdim: true).div_(_temperature);
                    TorchTensor withKey = torch.logaddexp(positive, s.logsumexp(1, keepdim: true));
                    gradPart.add_(key.mul(positive.sub(withKey).exp_().sub_(1)).mul_(scale));
                    s.sub_(withKey).exp_();
                    return (withKey - positive).sum();
                default:
                    TorchTensor target = (_keys is null ? _partner! : _rows).narrow(0, start, count).unsqueeze(1);
                    TorchTensor partner = s.gather(1, target);
                    if (_kind == LossKind.Dcl) s.scatter_(1, target, torch.full(count, 1, double.NegativeInfinity));
                    TorchTensor total = s.logsumexp(1, keepdim: true);
                    s.sub_(total).exp_();
                    s.scatter_add_(1, target, torch.full(count, 1, -1f));
                    return (total - partner).sum();
            }
        }

        // CLIP's two directions from one matrix
        static TorchTensor BothSides(TorchTensor s)
        {
            TorchTensor byRow = s.logsumexp(1, keepdim: true), byColumn = s.logsumexp(0, keepdim: true), diagonal = s.diagonal(0);
            TorchTensor sum = byRow.sum() + byColumn.sum() - diagonal.sum() * 2;
            TorchTensor columns = s.sub(byColumn).exp_();
            s.sub_(byRow).exp_().add_(columns);
            diagonal.sub_(2);
            return sum;
        }

        static (TorchTensor Z, TorchTensor Norm) Unit(TorchTensor x)
        {
            TorchTensor norm = x.norm(1, keepdim: true);
            return (x.div(norm), norm);
        }

        static TorchTensor ThroughNorm(TorchTensor gradient, TorchTensor z, TorchTensor norm) =>
            gradient.sub_(z.mul(z.mul(gradient).sum(1, keepdim: true))).div_(norm);
    }
}
