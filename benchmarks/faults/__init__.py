"""The faults of `fault_matrix.py`: what each promises, how it is brought about, what is looked at afterwards."""
