"""The audit: which side effects a call of a tool has on the model, on torch and on the process.

In: tools, and the models and conditions of `cases`. Out: a record for each check of `effects`, and
tables. `worker_task` runs in the worker process, takes snapshots of the model, of torch and of the
process around the call, and repeats trials in forked children. `audit_run` plans the cells and
makes the records; `audit_report` makes tables and sentences. `worker_task` and the modules that it
imports need torch; the others do not.
"""
