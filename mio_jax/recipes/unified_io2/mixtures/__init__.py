"""The published mixtures: which sets, at which rates, asked in which ways (specification of Unified-IO 2, section 16).

`pretraining.ROWS` and `instruction.ROWS` are the tables, `kinds` how a record becomes an example, `catalogue` puts both
in the registry as `unified_io2_pretrain` and `unified_io2_instruct`.
"""
