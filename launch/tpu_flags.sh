#!/usr/bin/env bash
# The flags of libtpu in every worker's environment: LIBTPU_INIT_ARGS="$(launch/tpu_flags.sh v5p)". docs/launch.md has
# the table of these flags with their reasons. Flags that differ from run to run (config.model.overlap) are not here: the step
# carries them as compiler options (polaris_jax/training/compiler_options.py), so that `polaris plan` judges the same program.
set -euo pipefail

tpu_flags() {
  local version=${1%%-*}
  case $version in
    v5p | v6e) ;;
    *) echo "tpu_flags.sh: $1: flags are known for v5p and v6e" >&2; return 2 ;;
  esac
  local flags=(
    --xla_tpu_enable_latency_hiding_scheduler=true
    --xla_enable_async_all_gather=true
    --xla_enable_async_collective_permute=true
    --xla_tpu_enable_async_collective_fusion=true
    --xla_tpu_enable_async_collective_fusion_fuse_all_gather=true
    --xla_tpu_enable_async_collective_fusion_multiple_steps=true
    --xla_tpu_overlap_compute_collective_tc=true
  )
  printf '%s\n' "${flags[*]}"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  tpu_flags "${1:?usage: launch/tpu_flags.sh v5p|v6e}"
fi
