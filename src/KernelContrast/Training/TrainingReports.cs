namespace KernelContrast.Training;

/// <summary>Where a run is, after each step.</summary>
/// <param name="Epoch">The epoch being done, from 1.</param>
/// <param name="Epochs">Epochs in all.</param>
/// <param name="Step">Steps done.</param>
/// <param name="TotalSteps">Steps in all.</param>
/// <param name="Loss">Of this step.</param>
/// <param name="LearningRate">Of this step.</param>
/// <param name="ImagesPerSecond">Over the last steps; each image counts once, though it is seen in two views.</param>
/// <param name="Elapsed">Since the run began, its earlier parts included.</param>
/// <param name="Left">At this speed.</param>
public sealed record StepReport(int Epoch, int Epochs, long Step, long TotalSteps, double Loss, double LearningRate,
    double ImagesPerSecond, TimeSpan Elapsed, TimeSpan Left);

/// <summary>What an epoch came to.</summary>
/// <param name="Epoch">The epoch that ended, from 1.</param>
/// <param name="Epochs">Epochs in all.</param>
/// <param name="Step">Steps done.</param>
/// <param name="TotalSteps">Steps in all.</param>
/// <param name="Loss">Mean over the epoch's steps.</param>
/// <param name="LearningRate">Of its last step.</param>
/// <param name="ImagesPerSecond">Over the last steps.</param>
/// <param name="Elapsed">Since the run began, its earlier parts included.</param>
/// <param name="Left">At this speed.</param>
/// <param name="Health">What the embeddings look like; null when not measured.</param>
public sealed record EpochReport(int Epoch, int Epochs, long Step, long TotalSteps, double Loss, double LearningRate,
    double ImagesPerSecond, TimeSpan Elapsed, TimeSpan Left, EmbeddingHealth? Health);

/// <summary>How <see cref="SimClrTrainer.Run"/> ended.</summary>
/// <param name="Completed">False when it was asked to stop before the last step.</param>
/// <param name="Checkpoint">What was saved.</param>
/// <param name="Elapsed">Since the run began, its earlier parts included.</param>
public sealed record TrainingResult(bool Completed, Checkpoint Checkpoint, TimeSpan Elapsed);

/// <summary>A run cannot go on: its numbers are no longer finite. The message says what to try.</summary>
public sealed class TrainingFailedException(string message) : Exception(message);
