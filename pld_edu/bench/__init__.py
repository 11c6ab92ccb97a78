"""What losses cost: time forward and backward, and memory, all in one interleaved run.

`contenders.CONTENDERS` are the losses, `steps.STEPS` the way from the published listing towards
`pld_edu.fast`, one idea at a time, `steps.PARTS` single operations of them, and `benchmark.run`
measures all of them, and a training step beside. Importing this package does not import torch.
"""
