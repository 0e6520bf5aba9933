#!/usr/bin/env bash
# The published recipe with BL30K, in three stages: 0 on still images, 1 on BL30K, 2 on DAVIS and YouTube-VOS. Results: runs/NAME_s0, NAME_s01, NAME_s012.
#   scripts/train_s012.sh NAME STATIC_ROOT BL30K_ROOT DAVIS_ROOT YOUTUBE_ROOT [further flags of train.py for all stages]
# On all GPUs of this machine (PROCESSES=N for another number). Given again after a stop, it goes on where it was.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 5 "$@"
name=$1
static_root=$(absolute "$2")
bl_root=$(absolute "$3")
davis_root=$(absolute "$4")
youtube_root=$(absolute "$5")
shift 5
cd "$repository"
train_stage 0 "${name}_s0" --static_root "$static_root" "$@"
train_stage 1 "${name}_s01" --load_network "runs/${name}_s0/weights.pth" --bl_root "$bl_root" "$@"
train_stage 2 "${name}_s012" --load_network "runs/${name}_s01/weights.pth" --davis_root "$davis_root" --yv_root "$youtube_root" "$@"
