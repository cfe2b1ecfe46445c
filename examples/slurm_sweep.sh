#!/bin/sh
# The sweep of torch_digits.py on Slurm, from a login node, in the background; partition, GPUs and time are yours to change:
#   sh examples/slurm_sweep.sh [OVERRIDES...]
# LAUNCHER=slots runs the same sweep on this machine.
set -eu
launcher=${LAUNCHER:-slots_slurm}
if [ "$launcher" = slots_slurm ]; then
    set -- hydra.launcher.partition="${PARTITION:-gpu}" hydra.launcher.gpus_per_node=4 hydra.launcher.timeout_min=240 \
        hydra.launcher.detach=true "$@"
fi
exec python "$(dirname "$0")/torch_digits.py" -m hydra/launcher="$launcher" model.hidden=32,64,128 optim.lr=0.003,0.01 "$@"
