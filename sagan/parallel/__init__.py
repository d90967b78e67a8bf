"""Devices and processes: how one program runs on many devices, and how processes meet.

| file | what it holds |
|---|---|
| `devices.py` | maps a program for one device over all of them, and places arrays there |
| `joining.py` | finds the job (its address and number of processes), and joins it |
| `roll_call.py` | before that: process 0 waits for all others, and names those missing |
| `processes.py` | which process this is; JSON values from the first to all; ending at once |
| `arrays.py` | arrays sent from one process to all |
| `spread.py` | a network on the devices of this process alone, as evaluation uses it |
| `keys.py`, `scan.py` | random keys of batch elements; repeating a step in a program |
| `platform.py`, `chips.py` | the kind of hardware; peaks and link speeds of chips |
| `flops.py`, `jaxprs.py` | counting arithmetic and memory; searching traced functions |
| `device_error.py` | explains an error that a device has raised |
"""
