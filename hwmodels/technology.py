"""What a description leaves out, derived from process node and memory technology: energies, sustained bandwidths.

Three published facts and three calibrated factors:

- arithmetic at 45 nm (Horowitz, ISSCC 2014), scaled by process with the polynomials of Stillmaker and Baas
  (Integration 58, 2017) down to 7 nm and with foundries' own figures below;
- SRAM at 45 nm (Horowitz): 10 pJ for 8 bytes out of 8 KiB, growing with the square root of the capacity;
- DRAM by standard (O'Connor et al., MICRO 2017, and estimates between).

A processor spends far more than its multipliers: fetch, decode, operand delivery, clock tree, voltage conversion.
The factors for that (:data:`CORE_OVERHEAD`, :data:`CORE_CYCLE`, :data:`SRAM_OVERHEAD`,
:data:`DRAM_HOST_PJ_PER_BIT`) were set so that boards known to be limited by power sustain what is measured on them in
long runs on random data (zeros switch less); ``pytest -s tests/test_power_cap.py`` prints measured and estimated rates.
Energies of cores and caches are those at the boost clock and its voltage: under a power limit they fall
(:data:`SLOW_ENERGY`). Expect a factor of 1.5 either way for processors of other kinds.
"""

from __future__ import annotations

import math

from .device import ComputeUnit, Device, MemoryLevel
from .quantity import Quantity

PROCESS_SCALE = {
    130: 7.5, 90: 3.1, 65: 2.0, 45: 1.0, 32: 0.64, 20: 0.21, 16: 0.164, 14: 0.114, 10: 0.083, 7: 0.067,
    12: 0.150,  # market name of a 16 nm class process
    8: 0.11,  # market name of a 10 nm class process at 0.85 V
    6: 0.060,  # the 7 nm class with more EUV layers
    5: 0.047,  # foundry: 30 % less power than 7 nm at the same speed
    4: 0.043,  # foundry: the 5 nm class, 9 % less power
    3: 0.033,  # foundry: 25 to 30 % less power than 5 nm
}  # fmt: skip
"""Switching energy relative to 45 nm at each node's usual voltage (1.3 V at 130 nm to 0.75 V at 7 nm)."""

FMA_PJ_PER_FLOP = {"matrix": 1.0, "vector": 2.3, "special": 2.3}
"""Horowitz at 45 nm, half a multiply-add: fp16 multiply 1.1 pJ and fp32 add 0.9; fp32 multiply 3.7 and add 0.9."""

WIDTH_RATIO = {
    "matrix": {
        "fp64": 8.0, "fp32": 4.0, "tf32": 2.0, "bf16": 1.0, "fp16": 1.0, "int16": 1.0, "fp8": 0.62, "mxfp8": 0.62,
        "int8": 0.45, "fp6": 0.5, "fp4": 0.3, "mxfp4": 0.3, "nvfp4": 0.3, "int4": 0.25, "int1": 0.06,
    },
    "vector": {
        "fp64": 2.2, "fp32": 1.0, "tf32": 1.0, "bf16": 0.5, "fp16": 0.5, "fp8": 0.25, "int64": 1.0, "int32": 0.5,
        "int16": 0.25, "int8": 0.15, "int4": 0.1, "bool": 0.15,
    },
    "special": {"fp64": 8.0, "fp32": 4.0, "bf16": 2.0, "fp16": 2.0},
}  # fmt: skip
"""Energy of a dtype relative to 16-bit on a matrix unit and to fp32 elsewhere: multipliers grow faster than their
width, operand delivery in proportion to it. fp8 is as sustained on H100, H200 and L40S; a special function is four
fp32 FLOPs."""

CORE_OVERHEAD = {
    "gpu": {"matrix": 8.1, "vector": 57.0, "special": 57.0},
    "cpu": {"matrix": 15.0, "vector": 100.0, "special": 100.0},
    "tpu": {"matrix": 5.0, "vector": 20.0, "special": 20.0},
    "npu": {"matrix": 6.0, "vector": 20.0, "special": 20.0},
    "asic": {"matrix": 4.0, "vector": 10.0, "special": 10.0},
    "fpga": {"matrix": 15.0, "vector": 30.0, "special": 30.0},
    "mcu": {"matrix": 10.0, "vector": 60.0, "special": 60.0},
}
"""Energy of a whole core over that of its multipliers and adders. GPU, at :data:`USUAL_CLOCK`: set by power-limited
boards (matrix: A100, H100, H200 and L40S with :data:`CORE_CYCLE`; vector: T4, P4, and V100, which is nearly limited).
CPU vector: 56 cores of a 350 W server sustain AVX-512 near its all-core clock. TPU: 102 W of switching power at
275 TFLOP/s (TPU v4, Jouppi et al., ISCA 2023). Others are placed between by how much control an operation needs."""

CORE_CYCLE = {"gpu": 15.6}
"""What comes on top for products on a core that does 1024 16-bit FLOPs a cycle, in inverse proportion to how many it
does: fetch, schedulers, register files and clock tree of a core switch each cycle, however wide its matrix unit is. An
L40S core (1024) takes 1.4 times the energy of an A100 core (2048) an operation, beside what its clock adds."""

USUAL_CLOCK = {"gpu": 1.41e9}
"""Clock in Hz that the overheads are stated for (that of A100). A product that boosts higher needs more voltage for it:
the energy grows with the boost clock as it does with the clock of one board, see :data:`SLOW_ENERGY`."""

SLOW_ENERGY = 0.3
"""Share of a core's energy an operation that is left as its clock goes to zero; in between it is linear in the clock.
The square of a supply voltage that falls from 1 at the boost clock to ``sqrt(0.3) = 0.55``: two measured boards idle at
0.62 of their voltage under load (TechPowerUp reviews of GTX 1660 Ti and RTX 3060 Ti: 0.65 V at 210 to 300 MHz, 1.05 and
1.08 V at boost), and power-limited boards of one process agree on their energies best between 0.3 and 0.4."""

SRAM_PJ_PER_BYTE = 1.25
SRAM_REFERENCE_BYTES = 8192.0
SRAM_OVERHEAD = 3.0
"""Tags, crossbar and repeaters of a cache over the bare array, which is all that a scratchpad is: with it, a byte from
HBM through L2 to a core costs the 56 to 66 pJ that fit board power over 12,893 bf16 and 26,566 fp8 GEMMs on H200."""
REGISTER_BANK_BYTES = 8192.0
"""Registers are read from banks of at most this size, however large the register file is."""

DRAM_PJ_PER_BIT = {
    "HBM": 5.0, "HBM2": 3.9, "HBM2e": 3.9, "HBM3": 3.9, "HBM3e": 3.9, "HBM4": 3.5,
    "GDDR5": 14.0, "GDDR5X": 11.0, "GDDR6": 9.0, "GDDR6X": 7.3, "GDDR7": 6.5,
    "DDR3": 25.0, "DDR4": 15.0, "DDR5": 12.0,
    "LPDDR2": 15.0, "LPDDR3": 10.0, "LPDDR4": 6.0, "LPDDR4X": 5.0, "LPDDR5": 4.5, "LPDDR5X": 4.0,
    "flash": 30.0,
}  # fmt: skip
"""Device and interface. HBM2 and GDDR5: O'Connor et al., table 3; GDDR6X: Micron technical brief; others estimated
from their voltage and signalling."""
DRAM_HOST_PJ_PER_BIT = 1.7
"""Memory controller and its side of the interface: brings HBM3e to 45 pJ a byte, as fits H200's board power."""

DRAM_SUSTAINED = {
    "HBM": 0.78, "HBM2": 0.83, "HBM2e": 0.82, "HBM3": 0.84, "HBM3e": 0.85, "HBM4": 0.85,
    "GDDR5": 0.75, "GDDR5X": 0.78, "GDDR6": 0.80, "GDDR6X": 0.88, "GDDR7": 0.88,
    "DDR3": 0.75, "DDR4": 0.80, "DDR5": 0.80,
    "LPDDR2": 0.70, "LPDDR3": 0.70, "LPDDR4": 0.75, "LPDDR4X": 0.75, "LPDDR5": 0.75, "LPDDR5X": 0.75,
}  # fmt: skip
"""Share of the pin bandwidth that long streams reach: refresh, row changes and turns between reads and writes take the
rest. HBM2 to HBM3e and GDDR5: means over the devices whose catalog entry says ``measured``; GDDR6X and GDDR7: estimated
from bandwidth tests of consumer boards; DDR: STREAM triad on servers, about four fifths; others estimated between."""

LEAST_ACTIVITY = 0.39
"""Favourable data in runs too short to be throttled take no less than this share of these energies: what the power
limit leaves in the fastest of 707,486 measured GEMMs on nine GPUs, compulsory traffic counted (a run of under a
millisecond on T4; 13 rows, all on T4, need less than 0.5). Bounds that must hold for every run use this share;
estimates of long runs use the energies as they are."""

SOURCE = "estimated: process node and technology (hwmodels/technology.py)"


def process_scale(nanometres: float) -> float:
    """Switching energy of a process relative to 45 nm; between listed nodes linear in the logarithms.

    >>> process_scale(45), process_scale(7)
    (1.0, 0.067)
    """
    nodes = sorted(PROCESS_SCALE)
    nm = min(max(nanometres, nodes[0]), nodes[-1])
    above = next(node for node in nodes if node >= nm)
    below = max(node for node in nodes if node <= nm)
    if above == below:
        return PROCESS_SCALE[above]
    share = math.log(nm / below) / math.log(above / below)
    return float(PROCESS_SCALE[below] ** (1 - share) * PROCESS_SCALE[above] ** share)


def energy_per_op(unit: str, dtype: str, kind: str, nanometres: float, clock: float = 0.0, width: float = 0.0) -> float:
    """Joules per FLOP of a unit (``matrix``, ``vector``, ``special``) in a device of a kind, its core included.

    Args:
        clock: boost clock in Hz; 0 for the usual one of the kind.
        width: 16-bit FLOPs that the matrix unit of a core does in a cycle; 0 for very many.
    """
    overhead = CORE_OVERHEAD[kind][unit]
    if unit == "matrix" and width:
        overhead += CORE_CYCLE.get(kind, 0.0) * 1024 / width
    faster = clock / USUAL_CLOCK[kind] if clock and kind in USUAL_CLOCK else 1.0
    ratio = WIDTH_RATIO[unit].get(dtype, 1.0) * (SLOW_ENERGY + (1 - SLOW_ENERGY) * faster)
    return FMA_PJ_PER_FLOP[unit] * ratio * process_scale(nanometres) * overhead * 1e-12


def energy_per_byte(technology: str, capacity: float, managed: str, nanometres: float) -> float:
    """Joules per byte read or written at a memory of ``capacity`` bytes."""
    standard = {name.lower(): energy for name, energy in DRAM_PJ_PER_BIT.items()}.get(technology.lower())
    if standard is not None:
        return 8 * (standard + DRAM_HOST_PJ_PER_BIT) * 1e-12
    accessed = min(capacity, REGISTER_BANK_BYTES) if managed == "registers" else capacity
    array = SRAM_PJ_PER_BYTE * math.sqrt(max(accessed, 1.0) / SRAM_REFERENCE_BYTES) * process_scale(nanometres)
    return array * (1.0 if managed == "scratchpad" else SRAM_OVERHEAD) * 1e-12


def fill(device: Device) -> Device:
    """The device with every energy that its description leaves out."""
    nanometres = device.process.value * 1e9
    filled = {name: _filled_unit(device, unit, name) for name, unit in device.units.items()}
    levels: list[MemoryLevel] = []
    for level in reversed(device.memory):  # from main memory inwards
        farther = levels[0].energy.value if levels and levels[0].energy else math.inf
        levels.insert(0, _filled_level(level, nanometres, farther))
    return device.model_copy(update={"compute": device.compute.model_copy(update=filled), "memory": tuple(levels)})


def _filled_unit(device: Device, unit: ComputeUnit, name: str) -> ComputeUnit:
    nanometres, clock = device.process.value * 1e9, device.clock.boost.value
    peaks = {dtype: device.peak(name, dtype) or 0.0 for dtype in ("bf16", "fp16", "int8")}
    width = max(peaks["bf16"], peaks["fp16"], peaks["int8"] / 2) / device.cores.value / clock
    energy = {
        dtype: unit.energy.get(dtype)
        or Quantity(energy_per_op(name, dtype, device.kind, nanometres, clock, width), "energy per op", SOURCE)
        for dtype in unit.peak
    }
    return unit.model_copy(update={"energy": energy})


def _filled_level(level: MemoryLevel, nanometres: float, farther: float) -> MemoryLevel:
    """The level with an energy; one that is derived is no larger than the ``farther`` level's.

    The square-root law is that of one array. A memory that large is built of banks and routed to, and nobody builds a
    level that costs more to reach than the one behind it.
    """
    standard = {name.lower(): kept for name, kept in DRAM_SUSTAINED.items()}.get(level.technology.lower())
    if level.sustained is None and standard is not None:
        level = level.model_copy(update={"sustained": Quantity(standard, "count", SOURCE)})
    if level.energy is not None:
        return level
    joules = min(energy_per_byte(level.technology, level.capacity.value, level.managed, nanometres), farther)
    return level.model_copy(update={"energy": Quantity(joules, "energy per byte", SOURCE)})
