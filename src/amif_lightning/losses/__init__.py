"""Loss functions of plain tensors, each with its formula."""
