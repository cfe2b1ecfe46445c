"""AMD's library as its Python package shows it, with four GPUs, in the words and units that it answers with."""

from __future__ import annotations

UUIDS = [
    "GPU-9d1c8f6a0b2e4751",
    "GPU-1f3a5c7e9b0d2846",
    "GPU-77aa11bb22cc33dd",
    "GPU-0e2d4c6b8a9f7153",
]  # in HIP's order

# listed in another order than HIP's; the third does not tell what it does
LIBRARY = f"""
class AmdSmiException(Exception): pass
class AmdSmiLibraryException(AmdSmiException): pass

PLACES = {{"a": 1, "b": 0, "c": 2, "d": 3}}
running = False

def amdsmi_init():
    global running
    running = True

def amdsmi_shut_down():
    global running
    running = False

def amdsmi_get_processor_handles():
    if not running:
        raise AmdSmiLibraryException("AMDSMI_STATUS_NOT_INIT")
    return list(PLACES)

def amdsmi_get_gpu_enumeration_info(handle):
    place = PLACES[handle]
    return {{"drm_render": 128 + place, "drm_card": place, "hsa_id": 2 + place, "hip_id": place,
             "hip_uuid": {UUIDS!r}[place]}}

def amdsmi_get_gpu_device_uuid(handle):
    return f"{{PLACES[handle]:02x}}ff74a1-0000-1000-80aa-0123456789ab"

def amdsmi_get_gpu_asic_info(handle):
    return {{"market_name": "AMD Instinct MI300X", "vendor_name": "Advanced Micro Devices Inc. [AMD/ATI]"}}

def amdsmi_get_gpu_vram_usage(handle):
    return {{"vram_total": 196592, "vram_used": 283 + 1000 * PLACES[handle]}}

def amdsmi_get_gpu_activity(handle):
    if handle == "c":
        return {{"gfx_activity": "N/A", "umc_activity": "N/A", "mm_activity": "N/A"}}
    return {{"gfx_activity": 7 * PLACES[handle], "umc_activity": 0, "mm_activity": "N/A"}}

def amdsmi_get_gpu_process_list(handle):
    if handle == "c":
        raise AmdSmiLibraryException("AMDSMI_STATUS_NO_PERM")
    if handle != "a":
        return []
    return [{{"name": "python", "pid": 4711, "mem": 0, "engine_usage": {{"gfx": 0, "enc": 0}},
             "memory_usage": {{"gtt_mem": 0, "cpu_mem": 0, "vram_mem": 5 << 20}}, "cu_occupancy": "N/A"}}]
"""
