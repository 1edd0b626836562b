"""What the memory refuses.

Problem
├── MemoryRefused      422  the text holds what is never stored
├── MemoryIdReused     409  the same id with another text
├── SubjectFull        409  no room for more memories of this subject
└── OvertakenByForgetting 503  the subject was forgotten while this was on its way
"""

from infra.chassis.problems import Problem


class MemoryRefused(Problem):
    status = 422
    code = "memory_refused"
    detail = "The text holds something that is never stored, such as a code, a PIN or a password; nothing was kept."


class MemoryIdReused(Problem):
    status = 409
    code = "memory_id_reused"
    detail = "This memory id was used for another text."


class SubjectFull(Problem):
    status = 409
    code = "subject_full"
    detail = "No more memories of this subject can be kept until some are forgotten."


class OvertakenByForgetting(Problem):
    status = 503
    code = "try_again"
    detail = "Something else happened to this subject's memories at the same moment; nothing was kept. Try again."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})
