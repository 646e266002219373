"""What a tool leaves behind: a process before and after its call comes in, effects go out.

`cases` are the models it is called on, `effects` the names of all that is looked at. Inside a
cell, `cell` takes snapshots of the model, of torch and of the process, calls the tool between
them, and tries in forked children what can still be done. `run` plans the cells and records what
came of them; `report` makes tables and sentences. Only `cell` and what it imports know torch.
"""
