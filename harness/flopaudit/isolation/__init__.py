"""Process isolation: each tool runs on each model in a worker process of its own.

In: jobs, a model and the cells to run on it. Out: one outcome for each cell, however it ended.
Processes: scheduler, zygote (has imported torch), host (holds a model), worker (runs one cell).
"""
