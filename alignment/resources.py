"""Room on disks, in memory and on a card, asked for before a long work begins rather than missed in its middle."""

from __future__ import annotations

import gc
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from math import prod
from pathlib import Path

from alignment.refusal import Refusal

GB = 1e9
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
# NF4 with double quantization: half a byte, and for each 64 weights a byte, for each 256 of those four (QLoRA, section 3).
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
# The limit, what is taken of it, and the lines of `memory.stat` that the kernel gives back by itself: versions 2 and 1.
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
BESIDE_SLEEPER = 16e9  # bytes of main memory that a training takes beside a model that sleeps there (proposal)


def require(needed: float, free: float, what: str, where: str, remedy: str) -> None:
    """Makes sure that there is room.

    Args:
        needed, free: bytes.
        what: needs the room, such as "the merged model".
        where: the room is, such as "on the disk of data/".

    Raises:
        Refusal: there is not, with both figures.
    """
    if needed > free:
        unit, name = (GB, "GB") if needed >= GB / 10 else (1e6, "MB")
        raise Refusal(f"{what} needs {needed / unit:.1f} {name}, {free / unit:.1f} {name} are free {where}", remedy)


def free_disk(folder: Path) -> float:
    """Tells the bytes that may be written below a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def free_memory() -> float:
    """Tells the bytes of main memory that processes can take; infinity where the system does not say.

    A container's limit counts: its processes are killed there, however much the machine has.
    """
    free = [float("inf")]
    if MEMINFO.exists():
        free += [1024 * float(line.split()[1]) for line in _lines(MEMINFO) if line.startswith("MemAvailable:")]
    for limit, taken, stat, cached in _LIMITS:
        try:
            given_back = sum(float(line.split()[1]) for line in _lines(CGROUPS / stat) if line.split()[0] == cached)
            free.append(float(_lines(CGROUPS / limit)[0]) - float(_lines(CGROUPS / taken)[0]) + given_back)
        except (OSError, ValueError, IndexError):
            pass  # no such version, or "max": no limit
    return max(0.0, min(free))


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def free_gpu() -> float:
    """Tells the bytes that are free on the first NVIDIA GPU that this process may use; infinity if unknown."""
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits", f"--id={gpu_id()}"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
        return float(said.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return float("inf")


def gpu_id() -> str:
    """Names the first NVIDIA GPU that this process may use, as `nvidia-smi --id` takes it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"


def has_gpu() -> bool:
    """Tells whether the NVIDIA driver's tool is installed, without loading its libraries."""
    return shutil.which("nvidia-smi") is not None


def release_memory() -> None:
    """Gives a dropped model's memory back; its layers and what computes them name each other."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def weight_files(model: Path) -> list[Path]:
    """Lists a model's shards in order.

    Raises:
        Refusal: the folder holds no safetensors.
    """
    found = sorted(model.glob("*.safetensors"))
    if not found:
        raise Refusal(f"{model}: no *.safetensors in it", "convert the model's weights to safetensors")
    return found


def tensors(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Lists the names and shapes in a safetensors file from its header alone.

    Raises:
        Refusal: it is not one, or is cut off inside the header.
    """
    try:
        with open(file, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, file.stat().st_size)))
    except (struct.error, ValueError) as error:
        raise Refusal(f"{file}: not a safetensors file: {error}", "restore the file, or download it again") from error
    return ((name, tuple(entry["shape"])) for name, entry in header.items() if name != "__metadata__")


def loaded_bytes(model: Path, dtype: str, quantization: str) -> float:
    """Estimates what a model's weights take in memory, by the headers of its safetensors; 0 where it has none.

    Args:
        dtype: of what is not packed.
        quantization: "nf4" packs the matrices inside the layers.
    """
    total = 0.0
    for file in model.glob("*.safetensors"):
        for name, shape in tensors(file):
            packed = quantization == "nf4" and len(shape) == 2 and ".layers." in name
            total += prod(shape) * (NF4_BYTES if packed else BYTES[dtype])
    return total


def require_room_to_load(model: Path, dtype: str, quantization: str, device: str) -> None:
    """Makes sure that a model's weights fit where they are to be loaded.

    Raises:
        Refusal: they do not.
    """
    on_gpu = device == "cuda"
    require(
        loaded_bytes(model, dtype, quantization),
        free_gpu() if on_gpu else free_memory(),
        f"{model}: loading it in {quantization if quantization != 'none' else dtype}",
        "on the GPU" if on_gpu else "in main memory",
        "end what else holds the memory, set model.quantization: nf4, or take a larger machine",
    )


def require_room_to_sleep(weights: float) -> None:
    """Makes sure that main memory can take a model's weights while a training has the device.

    Args:
        weights: bytes.

    Raises:
        Refusal: it cannot.
    """
    require(
        weights + BESIDE_SLEEPER,
        free_memory(),
        "a model that sleeps while another is trained",
        "in main memory",
        "rent a machine with more main memory, or let it be loaded anew",
    )
