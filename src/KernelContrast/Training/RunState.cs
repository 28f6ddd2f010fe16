namespace KernelContrast.Training;

/// <summary>Where a run is: all that is kept with the tensors. Random numbers need no state, they are counted by seed, epoch and step.</summary>
internal sealed record RunState
{
    /// <summary>What kind of checkpoint this is, and the version of its layout.</summary>
    public string Format { get; set; } = "";

    public SimClrConfig Config { get; set; } = new();

    /// <summary>Steps done.</summary>
    public long Step { get; set; }

    /// <summary>Steps of the optimizer.</summary>
    public long OptimizerSteps { get; set; }

    /// <summary>CPU threads that computed; 0 on another device, or before this was kept.</summary>
    public int Threads { get; set; }

    public long StepsPerEpoch { get; set; }

    /// <summary>What the data were, so that a run does not go on with others.</summary>
    public string Data { get; set; } = "";

    /// <summary>Sum of the losses of the epoch's steps so far.</summary>
    public double EpochLossSum { get; set; }

    /// <summary>Time spent so far, over all parts of the run.</summary>
    public double Seconds { get; set; }

    /// <summary>SHA-256 of all weights, running statistics and optimizer state.</summary>
    public string WeightsHash { get; set; } = "";
}
