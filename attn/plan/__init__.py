"""Plans: a program compiled for devices that are not here, its memory and its cost.

    python launch.py plan 7b --on v5p:8x8x8

`chips` and `topologies` are the devices as data, `programs` what is compiled for them,
`collectives` what a compiled program sends, `roofline` the time that all of it takes at
least, `estimate` the whole plan of an experiment, and `advice` what would make it fit.
"""
