"""Dead letters: find, show, filter, replay, purge. A letter leaves its queue only after what replaces it is
confirmed.
"""
