"""The rebuildable analytical store behind one small interface."""

from personalization.warehouse.duck import Session, Warehouse

__all__ = ["Session", "Warehouse"]
