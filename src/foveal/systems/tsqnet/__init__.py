"""TSQNet: which frames would be salient if this video showed that class?"""
