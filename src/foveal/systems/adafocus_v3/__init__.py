"""AdaFocusV3 and Uni-AdaFocus: which piece of space-time?"""
