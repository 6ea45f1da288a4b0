"""The published stages' mixtures: which sets, in which kinds of task (specification of MIO, section 5).

`tables` says which sets each mixture is made of, `kinds` and `chats` how a record becomes a document or a chat,
`catalogue` puts both in the registry.
"""
