"""`rlfr_mm.train` with FSDP2 on gloo, for tests/training/test_processes.py under `accelerate launch`.

accelerate ignores FSDP on CPUs: it looks for several GPUs. Here its state says that it found them; the rest is real.
"""

import sys
from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType

from rlfr_mm import train

if __name__ == "__main__":
    initialise = PartialState.__init__

    def with_gpus(self: PartialState, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = with_gpus  # type: ignore[method-assign]
    train.main(sys.argv[1:])
