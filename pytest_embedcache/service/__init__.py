"""For applications: many models behind one object, their vectors cached, their costs counted."""
