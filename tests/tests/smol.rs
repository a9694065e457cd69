//! The suite on smol.

zk_tests::suite!(zk_tests::runtimes::smol);
