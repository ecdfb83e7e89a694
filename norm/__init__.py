"""The software NORM: a simulated meter with a phasor unit, speaking the real protocols."""
