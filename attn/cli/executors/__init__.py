"""Executors: runs of a study or a sweep as jobs, on SLURM or Ray, supervised to their end.

    options     what may be asked for
    words       how it is read off a command line
    job         one run as a command, and the process that runs it
    on_slurm    jobs of SLURM, by submitit
    on_ray      tasks of Ray
    supervise   submits jobs, again where one was killed, until each run has ended
    submit      the jobs of runs, their files, and who may submit them

A job is `launch.py run FILE.json --workdir DIR` with the experiment in that file, so what it
needs is in its folder, and a killed one goes on from its newest checkpoint.
"""
