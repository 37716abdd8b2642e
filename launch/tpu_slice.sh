# shellcheck shell=bash
# Sourced by the launch scripts: tpu_slice v5p-128 sets RUNTIME (software version of the TPU VM), ACCELERATOR and TOPOLOGY
# (as GKE names them) and HOSTS (virtual machines, four chips each). v5p counts TensorCores, two to a chip; v6e chips.
tpu_slice() {
  local version=${1%%-*} chips
  case $version in
    v5p) RUNTIME=v2-alpha-tpuv5 ACCELERATOR=tpu-v5p-slice chips=$((${1#*-} / 2)) ;;
    v6e) RUNTIME=v2-alpha-tpuv6e ACCELERATOR=tpu-v6e-slice chips=${1#*-} ;;
    *) refuse "--type=$1: name a v5p or v6e slice such as v5p-128 or v6e-256" ;;
  esac
  case $version-$chips in
    v6e-4) TOPOLOGY=2x2 ;;
    v6e-8) TOPOLOGY=2x4 ;;
    v6e-16) TOPOLOGY=4x4 ;;
    v6e-32) TOPOLOGY=4x8 ;;
    v6e-64) TOPOLOGY=8x8 ;;
    v6e-128) TOPOLOGY=8x16 ;;
    v6e-256) TOPOLOGY=16x16 ;;
    v5p-4) TOPOLOGY=2x2x1 ;;
    v5p-8) TOPOLOGY=2x2x2 ;;
    v5p-16) TOPOLOGY=2x2x4 ;;
    v5p-32) TOPOLOGY=2x4x4 ;;
    v5p-64) TOPOLOGY=4x4x4 ;;
    v5p-128) TOPOLOGY=4x4x8 ;;
    v5p-256) TOPOLOGY=4x8x8 ;;
    v5p-512) TOPOLOGY=8x8x8 ;;
    v5p-1024) TOPOLOGY=8x8x16 ;;
    *) refuse "--type=$1: no such slice; polaris plan --topology=$1 names the nearest" ;;
  esac
  HOSTS=$((chips / 4))
  export RUNTIME ACCELERATOR TOPOLOGY HOSTS
}
