using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

/// <summary>
/// The peer's SimCLR chain, batched as an experienced user of TorchSharp would write it: one grid sample for crop and
/// flip, jitter by broadcast factors in one fixed order (brightness, contrast, saturation, hue as a rotation in YIQ),
/// greyscale by a mask. It does less than ours: no random order, no blur.
/// </summary>
internal static class TorchAugment
{
    private static readonly TorchTensor s_luma = torch.tensor(new[] { 0.299f, 0.587f, 0.114f }).view(1, 3, 1, 1).DetachFromDisposeScope();

    private static readonly TorchTensor s_toYiq = torch.tensor(new[,]
    {
        { 0.299f, 0.587f, 0.114f }, { 0.596f, -0.274f, -0.322f }, { 0.211f, -0.523f, 0.312f },
    }).DetachFromDisposeScope();

    private static readonly TorchTensor s_fromYiq = torch.tensor(new[,]
    {
        { 1f, 0.956f, 0.621f }, { 1f, -0.272f, -0.647f }, { 1f, -1.106f, 1.703f },
    }).DetachFromDisposeScope();

    internal static TorchTensor View(TorchTensor images)
    {
        using var unrecorded = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        long count = images.shape[0], size = images.shape[2];
        TorchTensor x = images.to(torch.ScalarType.Float32) / 255f;

        TorchTensor area = torch.rand(count) * 0.92f + 0.08f;
        TorchTensor aspect = torch.exp((torch.rand(count) * 2 - 1) * MathF.Log(4f / 3));
        TorchTensor width = torch.sqrt(area * aspect).clamp_max(1), height = torch.sqrt(area / aspect).clamp_max(1);
        TorchTensor flip = torch.where(torch.rand(count) < 0.5f, torch.full([count], -1f), torch.ones(count));
        TorchTensor theta = torch.zeros(count, 2, 3);
        theta.select(1, 0).select(1, 0).copy_(width * flip);
        theta.select(1, 1).select(1, 1).copy_(height);
        theta.select(1, 0).select(1, 2).copy_((torch.rand(count) * 2 - 1) * (1 - width));
        theta.select(1, 1).select(1, 2).copy_((torch.rand(count) * 2 - 1) * (1 - height));
        x = functional.grid_sample(x, functional.affine_grid(theta, [count, 3, size, size], align_corners: false),
            padding_mode: torch.GridSamplePaddingMode.Border, align_corners: false);

        TorchTensor jitter = torch.rand(count, 1, 1, 1) < 0.8f;
        TorchTensor y = (x * Factor(count, 0.4f)).clamp(0, 1);
        TorchTensor mean = (y * s_luma).sum(1, keepdim: true).mean([2, 3], keepdim: true);
        y = ((y - mean) * Factor(count, 0.4f) + mean).clamp(0, 1);
        TorchTensor grey = (y * s_luma).sum(1, keepdim: true);
        y = ((y - grey) * Factor(count, 0.4f) + grey).clamp(0, 1);
        TorchTensor angle = (torch.rand(count) * 2 - 1) * 0.1f * 2 * MathF.PI;
        TorchTensor rotation = torch.zeros(count, 3, 3);
        rotation.select(1, 0).select(1, 0).fill_(1);
        rotation.select(1, 1).select(1, 1).copy_(angle.cos());
        rotation.select(1, 2).select(1, 2).copy_(angle.cos());
        rotation.select(1, 1).select(1, 2).copy_(-angle.sin());
        rotation.select(1, 2).select(1, 1).copy_(angle.sin());
        TorchTensor matrix = s_fromYiq.matmul(rotation).matmul(s_toYiq);
        y = matrix.bmm(y.view(count, 3, size * size)).view(count, 3, size, size).clamp(0, 1);
        x = torch.where(jitter, y, x);

        TorchTensor greyed = (x * s_luma).sum(1, keepdim: true).expand_as(x);
        x = torch.where(torch.rand(count, 1, 1, 1) < 0.2f, greyed, x);
        return x.contiguous().MoveToOuterDisposeScope();
    }

    private static TorchTensor Factor(long count, float strength) => torch.rand(count, 1, 1, 1) * (2 * strength) + (1 - strength);
}
