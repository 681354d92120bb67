"""What reaches us from a training loop: loaders, losses, metrics, models, optimizers, loggers."""
