"""The order in which a run draws its problems."""

from trl.trainer.utils import RepeatSampler


class EpochSampler(RepeatSampler):
    """TRL's sampler, but with an order per epoch that depends only on the seed and the epoch.

    TRL draws the orders from one running generator, so a resumed run would repeat the order of the first epoch.
    """

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)
