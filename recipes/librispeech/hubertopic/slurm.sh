#!/usr/bin/env bash
# The recipe on several machines by SLURM: sbatch recipes/librispeech/hubertopic/slurm.sh [options of run.sh]
# Started from the project's root, which all machines see under the same path. What runs in one process runs on the
# first machine; k-means and pretraining run on all, one process a GPU.
#SBATCH --job-name=hubertopic
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=7-00:00:00
#SBATCH --output=slurm-%j.log
# A job that is stopped and started again goes on from its last checkpoint.
#SBATCH --requeue
set -euo pipefail

# srun does not take this over from sbatch by itself (since Slurm 22.05), and would give each task one processor.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
read -r head < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export LAUNCHER="srun torchrun --nnodes=$SLURM_JOB_NUM_NODES --nproc-per-node=$SLURM_GPUS_ON_NODE \
--rdzv-id=$SLURM_JOB_ID --rdzv-backend=c10d --rdzv-endpoint=$head:29400"
bash recipes/librispeech/hubertopic/run.sh "$@"
