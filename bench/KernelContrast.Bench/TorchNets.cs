using TorchSharp.Modules;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench;

/// <summary>Basic-block residual networks in TorchSharp, as its user would write them: the peer of Nn.ResNet.</summary>
internal sealed class TorchResNet : Module<TorchTensor, TorchTensor>
{
    private readonly Conv2d _stem;
    private readonly BatchNorm2d _stemNorm;
    private readonly ModuleList<Block> _blocks = new();
    private readonly Linear _head;

    internal TorchResNet(int channels, int[] widths, int blocksPerStage, int stemStride, int outputs) : base("resnet")
    {
        _stem = Conv2d(channels, widths[0], 3, stride: stemStride, padding: 1, bias: false);
        _stemNorm = BatchNorm2d(widths[0]);
        int width = widths[0];
        for (int stage = 0; stage < widths.Length; stage++)
            for (int i = 0; i < blocksPerStage; i++)
            {
                _blocks.Add(new Block(width, widths[stage], i == 0 && stage > 0 ? 2 : 1));
                width = widths[stage];
            }
        _head = Linear(width, outputs);
        RegisterComponents();
    }

    public override TorchTensor forward(TorchTensor x)
    {
        x = functional.relu(_stemNorm.call(_stem.call(x)));
        foreach (Block block in _blocks) x = block.call(x);
        return _head.call(x.mean([2, 3]));
    }

    private sealed class Block : Module<TorchTensor, TorchTensor>
    {
        private readonly Conv2d _first, _second;
        private readonly BatchNorm2d _firstNorm, _secondNorm;
        private readonly Conv2d? _shortcut;
        private readonly BatchNorm2d? _shortcutNorm;

        internal Block(int input, int output, int stride) : base("block")
        {
            _first = Conv2d(input, output, 3, stride: stride, padding: 1, bias: false);
            _firstNorm = BatchNorm2d(output);
            _second = Conv2d(output, output, 3, padding: 1, bias: false);
            _secondNorm = BatchNorm2d(output);
            if (stride != 1 || input != output)
            {
                _shortcut = Conv2d(input, output, 1, stride: stride, bias: false);
                _shortcutNorm = BatchNorm2d(output);
            }
            RegisterComponents();
        }

        public override TorchTensor forward(TorchTensor x)
        {
            TorchTensor residual = _shortcut is null ? x : _shortcutNorm!.call(_shortcut.call(x));
            TorchTensor y = functional.relu(_firstNorm.call(_first.call(x)));
            return functional.relu(_secondNorm.call(_second.call(y)) + residual);
        }
    }
}
