"""Say why a model takes one tensor, and how to make one of several. Without torch: the sandbox reads it too."""

ONE_INPUT = (
    "a model of Avizor takes one tensor, of which each row is one item; export a module that takes one tensor and splits it, "
    "whose forward(self, x) is `return self.network(x[:, :a], x[:, a:])`, and keep what is the same for every item in a buffer"
)
