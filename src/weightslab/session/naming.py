"""When the experiment gets a hash, and when a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightslab.checkpoints.identity import plain_hash
from weightslab.session.experiment import Experiment

if TYPE_CHECKING:
    from weightslab.session.session import Session

__all__ = ["Naming"]


class Naming:
    """Keeps the experiment hash of a session at what is registered, applied and discarded."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.experiment = Experiment()
        self.has_trained = False
        """Whether a training step has begun in this process."""

    @property
    def hash(self) -> str | None:
        """Name of the current state of the experiment; None until something names one."""
        session = self._session
        if session.mode == "r":
            found = session.ledger.experiment_hash
            return None if found is None else plain_hash(found)
        if not self.has_trained:
            if session.open_ledger is None and self._is_run():
                _ = session.ledger
            self.refresh()
        return self.experiment.hash

    def for_evaluation(self) -> str:
        """The hash, of an evaluation: where nothing names one, this does.

        Results need a hash that their marker belongs to. From here on the session keeps it
        up to date, as if hyperparameters were watched.
        """
        ledger = self._session.ledger
        found = self.hash
        if found is None:
            session = self._session
            self.experiment.follow(session.registry, ledger, session.hyperparameters)
            found = self.experiment.hash
            assert found is not None
        return found

    def refresh(self) -> None:
        """Open a new hash when hyperparameters, architecture or discards have changed."""
        session = self._session
        if self._looks_on():
            return
        ledger = session.open_ledger
        # An evaluation names one, too, and an earlier launch did.
        named = ledger is not None and ledger.experiment_hash is not None
        if not (named or session.folder.is_chosen or session.registry.hyperparameters is not None):
            return
        try:
            content = (session.registry, ledger, session.hyperparameters)
            if self.has_trained and self.experiment.is_current(*content):
                return
            if not (self.has_trained and self.experiment.has_seen(*content)):
                session.tuning.take(at_once=True)  # one hash for all that was edited until now
            self.experiment.follow(*content)
        except Exception as error:  # noqa: BLE001  # it reads objects of the user's
            session.say_failed("the experiment hash stays as it was", error)

    def _is_run(self) -> bool:
        """Whether the folder that somebody named holds a run already."""
        session = self._session
        folder = session.folder.named(session.registry.hyperparameters)
        return folder is not None and (folder / "ledger.json").exists()

    def _looks_on(self) -> bool:
        """Whether nothing is registered or trained here: then the folder's last hash stays."""
        registry, ledger = self._session.registry, self._session.open_ledger
        if self.has_trained or registry.hyperparameters is not None or registry.models:
            return False
        if ledger is None or ledger.experiment_hash is None:
            return False
        self.experiment.hash = plain_hash(ledger.experiment_hash)
        return True
