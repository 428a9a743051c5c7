"""NVIDIA GPUs as XLA's compiler is told of them: `GpuTargetConfigProto` as text.

The numbers are those of `xla/backends/gpu/target_config/specs` in OpenXLA's repository,
which it reads off such a device.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """The fields that differ between kinds of GPUs, in the words of the message."""

    description: str
    core_count: int
    memory_bandwidth: int
    l2_cache_size: int
    clock_rate_ghz: float
    device_memory_size: int
    major: int
    """The compute capability, of which the minor number is 0."""


GPUS = {
    "h100": Gpu(
        "NVIDIA H100 80GB HBM3", 132, 3352320000000, 52428800, 1.98, 84942979072, 9
    ),
    "h200": Gpu("NVIDIA H200", 132, 4800000000000, 52428800, 1.98, 151397597184, 9),
    "b200": Gpu("NVIDIA B200", 148, 7672320000000, 132644864, 1.965, 191514411008, 10),
}


def target_config(name: str) -> str:
    """The message that describes a kind of GPU to the compiler."""
    gpu = GPUS[name]
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: {gpu.core_count}
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {gpu.memory_bandwidth}
  l2_cache_size: {gpu.l2_cache_size}
  clock_rate_ghz: {gpu.clock_rate_ghz}
  device_memory_size: {gpu.device_memory_size}
  shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: {gpu.major} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{gpu.description}"
"""
