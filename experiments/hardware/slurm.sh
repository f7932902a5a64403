#!/bin/sh
# Batch script for SLURM, not run: sbatch experiments/hardware/slurm.sh --config experiments/pretrain/base.yaml ...
# The options after the script are those of `fit`. Two machines with four GPUs each; edit the next lines.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=SIGTERM@120
#SBATCH --requeue
set -e
. .venv/bin/activate
# A requeued job has the same number and resumes.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then set -- "$@" --ckpt_path last; fi
status=0
srun python -m amif_lightning fit "$@" --config experiments/hardware/ddp.yaml \
  --trainer.num_nodes "$SLURM_JOB_NUM_NODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" || status=$?
# 143: SIGTERM, after last.ckpt was written.
if [ "$status" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; else exit "$status"; fi
